// PublicPart: what is left of a file of certificates after its private keys are removed.
//
// Operators keep a certificate and its key in one file, or name the two in the wrong order. So no file reaches starttlsd
// before this has looked at it. In PEM the blocks with a label that ends with PRIVATE KEY are removed (RFC 7468), up to
// the end of the file if a block has no end. In DER a file that begins as a private key does, a SEQUENCE whose first
// element is an INTEGER (RFC 5208, RFC 5915, RFC 8017), is removed as a whole.

enum PublicPart {
  private static let begin = Array("-----BEGIN ".utf8)
  private static let end = Array("-----END ".utf8)
  private static let dashes = Array("-----".utf8)
  private static let label = Array("PRIVATE KEY".utf8)
  /// Longer than any label.
  private static let labelLimit = 64

  /// Removes the private keys from the octets.
  ///
  /// - Returns: the number of octets that are left, at the start. The others are to be wiped.
  static func keep(in octets: UnsafeMutableRawBufferPointer) -> Int {
    if isKey(UnsafeRawBufferPointer(octets)) { return 0 }
    var (kept, index) = (0, 0)
    while index < octets.count {
      if let next = endOfLabel(octets, at: index, after: begin) {
        index = endOfBlock(octets, from: next)
        continue
      }
      octets[kept] = octets[index]
      (kept, index) = (kept + 1, index + 1)
    }
    return kept
  }

  /// True for DER that begins as a private key.
  private static func isKey(_ octets: UnsafeRawBufferPointer) -> Bool {
    guard octets.count > 4, octets[0] == 0x30 else { return false }
    let lengthOctets = octets[1] < 0x80 ? 0 : Int(octets[1] & 0x7F)
    return lengthOctets <= 4 && octets.count > 2 + lengthOctets && octets[2 + lengthOctets] == 0x02
  }

  /// The index after `-----BEGIN ... PRIVATE KEY-----`, or END, if that begins here.
  private static func endOfLabel(_ octets: UnsafeMutableRawBufferPointer, at index: Int, after prefix: [UInt8]) -> Int? {
    guard octets[index] == prefix[0], octets[index...].starts(with: prefix) else { return nil }
    let start = index + prefix.count
    for last in start..<min(start + labelLimit, octets.count) where octets[last...].starts(with: dashes) {
      guard last - start >= label.count, octets[(last - label.count)..<last].elementsEqual(label) else { return nil }
      return last + dashes.count
    }
    return nil
  }

  /// The index after the line that ends the block.
  private static func endOfBlock(_ octets: UnsafeMutableRawBufferPointer, from start: Int) -> Int {
    for index in start..<octets.count {
      if let next = endOfLabel(octets, at: index, after: end) { return next }
    }
    return octets.count
  }
}
