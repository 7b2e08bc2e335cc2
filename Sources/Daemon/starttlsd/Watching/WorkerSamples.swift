// WorkerSamples: the samples of one worker's metrics, each with the worker's number as a label.
//
// Contract: a worker reads what strangers send, so its text is not trusted. Only samples of known families are taken, with well-formed
// labels and numbers, and each once; what the families are is known here. So a worker cannot speak for another one, and cannot make
// the text of all unreadable. Failure: nil, if anything is different; nothing of that worker is used then.

struct WorkerSamples {
  /// The lines by the names of their families, in the order of the worker.
  private(set) var lines: [String: [UInt8]] = [:]

  /// The largest text of all workers together, and of one.
  private static let limitOfAll = 16 << 20
  private static let limitOfOne = 1 << 20
  /// The text of one worker that is read, in octets.
  static func limit(workers: Int) -> Int { min(limitOfOne, limitOfAll / max(1, workers)) }

  /// The families by the names of their samples.
  private static let families: [[UInt8]: String] = {
    let names = MetricsFamily.all.flatMap { family in
      family.kind.suffixes.map { (Array("\(MetricsFamily.prefix)\(family.name)\($0)".utf8), family.name) }
    }
    return Dictionary(names, uniquingKeysWith: { first, _ in first })
  }()

  /// Reads the text of a worker.
  init?(_ text: [UInt8], worker: Int) {
    let end = Array(MetricsText.end.utf8)
    guard text.count >= end.count, text.suffix(end.count).elementsEqual(end) else { return nil }
    let label = Array("worker=\"\(worker)\"".utf8)
    var seen: Set<ArraySlice<UInt8>> = []
    for line in text.dropLast(end.count).split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
      let name = line.prefix { WorkerSamples.isNameLetter($0) }
      guard let family = WorkerSamples.families[Array(name)], let space = line.lastIndex(of: UInt8(ascii: " ")) else { return nil }
      let labels = line[name.endIndex..<space]
      let value = line[(space + 1)...]
      guard WorkerSamples.areLabels(labels), WorkerSamples.isNumber(value), seen.insert(line[..<space]).inserted else { return nil }
      var made = Array(name) + [UInt8(ascii: "{")] + label
      if labels.isEmpty { made.append(UInt8(ascii: "}")) } else { made += [UInt8(ascii: ",")] + labels.dropFirst() }
      lines[family, default: []] += made + line[space...] + [UInt8(ascii: "\n")]
    }
  }

  private static func isNameLetter(_ octet: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(octet) || octet == UInt8(ascii: "_")
  }

  /// True for none, and for `{name="value",...}` with printable ASCII in the values and no label `worker`.
  private static func areLabels(_ text: ArraySlice<UInt8>) -> Bool {
    guard !text.isEmpty else { return true }
    guard text.first == UInt8(ascii: "{"), text.last == UInt8(ascii: "}") else { return false }
    var rest = text.dropFirst()
    while true {
      let name = rest.prefix { isNameLetter($0) }
      rest = rest[name.endIndex...]
      guard !name.isEmpty, !name.elementsEqual("worker".utf8), rest.starts(with: "=\"".utf8) else { return false }
      rest = rest.dropFirst(2)
      while let octet = rest.first, octet != UInt8(ascii: "\"") {
        let isEscape = octet == UInt8(ascii: "\\")
        guard (0x20...0x7E).contains(octet), !isEscape || rest.dropFirst().first.map({ $0 == UInt8(ascii: "\"") || $0 == octet }) == true else {
          return false
        }
        rest = rest.dropFirst(isEscape ? 2 : 1)
      }
      rest = rest.dropFirst()
      switch rest.first {
      case UInt8(ascii: ","): rest = rest.dropFirst()
      case UInt8(ascii: "}"): return rest.count == 1
      default: return false
      }
    }
  }

  /// True for `12`, `-3`, `0.25`.
  private static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
    let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
    let parts = digits.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return digits.count <= 32 && (1...2).contains(parts.count)
      && parts.allSatisfy { part in !part.isEmpty && part.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }
  }
}
