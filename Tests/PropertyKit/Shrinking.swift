// Shrinking: from a list of choices that fails to one that still fails and is as short, then as small, as can be found.
//
// It works on the list alone and knows nothing of the generator. A candidate counts only if it fails, and only if the
// choices that it really made are simpler than the best so far; so it ends.

package enum Shrinking {
  /// - Parameters:
  ///   - failing: choices that fail.
  ///   - budget: the largest number of candidates tried.
  ///   - recordIfFails: runs a candidate; the choices that it made if it fails, nil if it does not.
  package static func minimum(
    of failing: [Int], budget: Int = 4_000, recordIfFails: ([Int]) -> [Int]?
  ) -> [Int] {
    var best = failing
    var left = budget
    var improved = true

    func attempt(_ candidate: [Int]) -> Bool {
      guard left > 0 else { return false }
      left -= 1
      guard let record = recordIfFails(candidate), isSimpler(record, than: best) else { return false }
      best = record
      improved = true
      return true
    }

    while improved, left > 0 {
      improved = false
      deleteBlocks(attempt: attempt) { best }
      lowerValues(attempt: attempt) { best }
      lowerCounts(attempt: attempt) { best }
    }
    return best
  }

  /// Shorter first, then smaller from the left.
  package static func isSimpler(_ one: [Int], than other: [Int]) -> Bool {
    one.count != other.count ? one.count < other.count : one.lexicographicallyPrecedes(other)
  }

  private static func deleteBlocks(attempt: ([Int]) -> Bool, best: () -> [Int]) {
    var size = max(1, best().count / 2)
    while size >= 1 {
      var start = best().count - size
      while start >= 0 {
        var candidate = best()
        if start + size <= candidate.count {
          candidate.removeSubrange(start..<start + size)
          _ = attempt(candidate)
        }
        start -= size
      }
      size /= 2
    }
  }

  private static func lowerValues(attempt: ([Int]) -> Bool, best: () -> [Int]) {
    var index = 0
    while index < best().count {
      var candidate = best()
      let value = candidate[index]
      for lower in [0, value / 2, value - 1] where lower >= 0 && lower < value {
        candidate[index] = lower
        if attempt(candidate) { break }
      }
      // A value that could be lowered is tried again, until it cannot.
      if index >= best().count || best()[index] >= value { index += 1 }
    }
  }

  /// A number often says how many others follow it: one less of the one, and one of the others away.
  private static func lowerCounts(attempt: ([Int]) -> Bool, best: () -> [Int]) {
    var index = 0
    while index < best().count {
      if best()[index] > 0 {
        for other in index + 1..<max(index + 1, min(index + 9, best().count)) {
          var candidate = best()
          candidate[index] -= 1
          candidate.remove(at: other)
          if attempt(candidate) { break }
        }
      }
      index += 1
    }
  }
}
