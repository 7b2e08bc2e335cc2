// WorkerSamples: the samples of one worker's metrics, each with the worker's number as a label.
//
// Contract: a worker reads what strangers send, so its text is not trusted. Only samples of known families are taken, with exactly the
// labels of their family and well-formed values and numbers, and each once; what the families are is known here. The number of samples
// is limited. So a worker cannot report for another one, cannot make the text of all unreadable, and cannot fill the store of the
// monitoring system. Failure: a reason, if anything is different; nothing of that worker is used then.

struct WorkerSamples {
  /// The lines by the names of their families, in the order of the worker.
  private(set) var lines: [String: [UInt8]] = [:]

  /// The largest text of all workers together, and of one.
  private static let limitOfAll = 16 << 20
  private static let limitOfOne = 1 << 20
  /// The text of one worker that is read, in octets.
  static func limit(workers: Int) -> Int { min(limitOfOne, limitOfAll / max(1, workers)) }

  /// The samples of one worker, besides those of the certificates' files, of which there can be many.
  private static let samplesLimit = 2_000
  private static let certificatesLimit = CertificateFiles.limit

  /// What the samples of one name are.
  private struct Form {
    let family: String
    let labels: [[UInt8]]
  }

  /// By the names of the samples.
  private static let forms: [[UInt8]: Form] = {
    let forms = MetricsFamily.all.flatMap { family in
      family.kind.suffixes.map { suffix in
        let labels = family.labels(suffix: suffix).map { Array($0.utf8) }
        return (Array("\(MetricsFamily.prefix)\(family.name)\(suffix)".utf8), Form(family: family.name, labels: labels))
      }
    }
    return Dictionary(forms, uniquingKeysWith: { first, _ in first })
  }()

  /// Why a text is not used, for the log: nothing of the text itself.
  struct Rejection: Error, CustomStringConvertible {
    let description: String
  }

  /// Reads the text of a worker.
  init(_ text: [UInt8], worker: Int) throws(Rejection) {
    let end = Array(MetricsText.end.utf8)
    guard text.count >= end.count, text.suffix(end.count).elementsEqual(end) else { throw Rejection(description: "they have no end") }
    let label = Array("worker=\"\(worker)\"".utf8)
    var seen: Set<ArraySlice<UInt8>> = []
    var certificates = 0
    for line in text.dropLast(end.count).split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
      let name = line.prefix { WorkerSamples.isNameLetter($0) }
      guard let form = WorkerSamples.forms[Array(name)], let space = line.lastIndex(of: UInt8(ascii: " ")) else {
        throw Rejection(description: "a line is no sample of a known metric")
      }
      let labels = line[name.endIndex..<space]
      let value = line[(space + 1)...]
      guard WorkerSamples.are(labels, form.labels), WorkerSamples.isNumber(value) else {
        throw Rejection(description: "a sample has other labels, or no number")
      }
      guard seen.insert(line[..<space]).inserted else { throw Rejection(description: "a sample is there twice") }
      if form.family == MetricsFamily.certificates { certificates += 1 }
      guard certificates <= WorkerSamples.certificatesLimit, seen.count - certificates <= WorkerSamples.samplesLimit else {
        throw Rejection(description: "there are too many samples")
      }
      var made = Array(name) + [UInt8(ascii: "{")] + label
      if labels.isEmpty { made.append(UInt8(ascii: "}")) } else { made += [UInt8(ascii: ",")] + labels.dropFirst() }
      lines[form.family, default: []] += made + line[space...] + [UInt8(ascii: "\n")]
    }
  }

  private static func isNameLetter(_ octet: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(octet) || octet == UInt8(ascii: "_")
  }

  /// True for `{name="value",...}` with just these names, in their order, and printable ASCII in the values; without names for nothing.
  ///
  /// So there is one way to write a sample: two that are written differently are different ones.
  private static func are(_ text: ArraySlice<UInt8>, _ names: [[UInt8]]) -> Bool {
    var rest = text
    for (index, name) in names.enumerated() {
      let start = [UInt8(ascii: index == 0 ? "{" : ",")] + name + Array("=\"".utf8)
      guard rest.starts(with: start) else { return false }
      rest = rest.dropFirst(start.count)
      while let octet = rest.first, octet != UInt8(ascii: "\"") {
        let isEscape = octet == UInt8(ascii: "\\")
        guard (0x20...0x7E).contains(octet), !isEscape || rest.dropFirst().first.map({ $0 == UInt8(ascii: "\"") || $0 == octet }) == true else {
          return false
        }
        rest = rest.dropFirst(isEscape ? 2 : 1)
      }
      guard !rest.isEmpty else { return false }
      rest = rest.dropFirst()
    }
    return rest.elementsEqual(names.isEmpty ? "".utf8 : "}".utf8)
  }

  /// True for `12`, `-3`, `0.25`.
  private static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
    let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
    let parts = digits.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return digits.count <= 32 && (1...2).contains(parts.count)
      && parts.allSatisfy { part in !part.isEmpty && part.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }
  }
}
