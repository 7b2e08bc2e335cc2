// Secrets: what no report shows. A server may repeat what it received, so that both directions are searched.

package struct Secrets: Hashable, Sendable {
  /// Octets to hide, and how many of their first ones are enough to be hidden.
  private struct Word: Hashable, Sendable {
    let octets: [UInt8]
    let enough: Int
  }

  private static let mark = Array("***".utf8)
  /// A server may cut what it repeats. So many characters of base64 are no accident.
  private static let beginning = 8

  private let words: [Word]

  /// - Parameters:
  ///   - plain: octets that are hidden as they are, and as `OctetText` writes them.
  ///   - encoded: texts in base64, which are hidden with or without their padding, and if only their beginning is there.
  package init(plain: [[UInt8]] = [], encoded: [String] = []) {
    let escaped = plain.map { Array(OctetText.encoded($0).utf8) }
    let digits = encoded.map { Array($0.utf8.prefix { $0 != UInt8(ascii: "=") }) }
    words =
      Set(plain + escaped).filter { !$0.isEmpty }.map { Word(octets: $0.map(Secrets.lowercase), enough: $0.count) }
      + Set(digits).filter { !$0.isEmpty }.map {
        Word(octets: $0.map(Secrets.lowercase), enough: min($0.count, Secrets.beginning))
      }
  }

  /// The octets with `***` for each secret. Upper and lower case are the same: a server may repeat a command in upper case.
  func hidden(in octets: some Collection<UInt8>) -> [UInt8] {
    let octets = Array(octets)
    guard !words.isEmpty else { return octets }
    let folded = octets.map(Secrets.lowercase)
    var result: [UInt8] = []
    var index = 0
    while index < octets.count {
      let count = length(at: index, folded)
      if count == 0 {
        result.append(octets[index])
        index += 1
      } else {
        result += Secrets.mark
        index += count
      }
    }
    return result
  }

  func hidden(in text: String) -> String { String(decoding: hidden(in: text.utf8), as: UTF8.self) }

  /// The length of the longest secret that begins at the index; 0 if none does.
  private func length(at index: Int, _ octets: [UInt8]) -> Int {
    var longest = 0
    for word in words where word.octets[0] == octets[index] {
      var count = 1
      while count < word.octets.count, index + count < octets.count, octets[index + count] == word.octets[count] { count += 1 }
      if count >= word.enough { longest = max(longest, count) }
    }
    return longest
  }

  private static func lowercase(_ octet: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(octet) ? octet | 0x20 : octet
  }
}
