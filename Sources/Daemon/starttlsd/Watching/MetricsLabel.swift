// MetricsLabel: a label of the samples of a family, and the values that it can have.

struct MetricsLabel {
  let name: String
  /// All values that a sample can have, each once; nil if they are no words of this program: numbers, paths, names of the TLS library.
  private let values: [String]?

  init(_ name: String, _ values: [String]? = nil) {
    self.name = name
    self.values = values.map { values in values.indices.filter { !values[..<$0].contains(values[$0]) }.map { values[$0] } }
  }

  /// `from (server, client, empty)`, or the name alone if the values are not words of this program.
  var help: String {
    guard let values else { return name }
    return "\(name) (\(values.map { $0.isEmpty ? "empty" : $0 }.joined(separator: ", ")))"
  }
}
