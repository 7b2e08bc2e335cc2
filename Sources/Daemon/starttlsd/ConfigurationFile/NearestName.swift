// NearestName: the known name that an unknown one was probably meant to be.

enum NearestName {
  /// The name with the smallest distance, if a third of the letters at most is wrong.
  static func of(_ name: String, among known: some Sequence<String>) -> String? {
    // More cannot be near a name of ours.
    guard name.utf8.count <= 64 else { return nil }
    let nearest = known.map { (name: $0, distance: distance(name, $0)) }.min { ($0.distance, $0.name) < ($1.distance, $1.name) }
    guard let nearest, nearest.distance <= max(1, name.utf8.count / 3) else { return nil }
    return nearest.name
  }

  /// The number of letters that are added, left out, replaced, or exchanged with the next one.
  static func distance(_ one: String, _ other: String) -> Int {
    let (one, other) = (Array(one.utf8), Array(other.utf8))
    var before: [Int] = []
    var last = Array(0...other.count)
    for (row, letter) in one.enumerated() {
      var next = [row + 1]
      for (column, candidate) in other.enumerated() {
        var distance = min(last[column + 1] + 1, next[column] + 1, last[column] + (letter == candidate ? 0 : 1))
        if row > 0, column > 0, letter == other[column - 1], one[row - 1] == candidate { distance = min(distance, before[column - 1] + 1) }
        next.append(distance)
      }
      before = last
      last = next
    }
    return last[other.count]
  }
}
