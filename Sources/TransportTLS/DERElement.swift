// DERElement: one element of DER, as a range of octets.
//
// Contract: total. What is not DER with a definite length and a tag of one octet is no element.

/// An element of DER with a definite length (X.690, 8.1).
struct DERElement {
  let tag: UInt8
  /// Tag, length and content.
  let all: Range<Int>
  let content: Range<Int>

  /// The element at the start of a range; nil if it does not end in it.
  init?(_ octets: [UInt8], _ range: Range<Int>) {
    guard range.count >= 2 else { return nil }
    tag = octets[range.lowerBound]
    let first = Int(octets[range.lowerBound + 1])
    var start = range.lowerBound + 2
    var length = first
    if first >= 0x80 {
      let count = first - 0x80
      // At most 4 octets, and no more than needed.
      guard (1...4).contains(count), range.upperBound - start >= count, octets[start] != 0 else { return nil }
      length = octets[start..<start + count].reduce(0) { $0 << 8 | Int($1) }
      guard length >= 0x80 else { return nil }
      start += count
    }
    // A tag of several octets is in no list.
    guard tag & 0x1F != 0x1F, length <= range.upperBound - start else { return nil }
    all = range.lowerBound..<start + length
    content = start..<start + length
  }

  /// What the element consists of; nil if that is not a number of elements.
  func elements(of octets: [UInt8]) -> [DERElement]? {
    var found: [DERElement] = []
    var rest = content
    while !rest.isEmpty {
      guard let element = DERElement(octets, rest) else { return nil }
      found.append(element)
      rest = element.all.upperBound..<rest.upperBound
    }
    return found
  }

  /// A SEQUENCE with this content.
  static func sequence(_ content: [UInt8]) -> [UInt8] {
    guard content.count >= 0x80 else { return [0x30, UInt8(content.count)] + content }
    let length = withUnsafeBytes(of: UInt32(content.count).bigEndian) { Array($0.drop { $0 == 0 }) }
    return [0x30, 0x80 | UInt8(length.count)] + length + content
  }
}
