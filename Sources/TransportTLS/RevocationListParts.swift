// RevocationListParts: the parts of a revocation list in DER (RFC 5280, 5.1):
//
//   CertificateList  SEQUENCE { tbsCertList, signatureAlgorithm SEQUENCE, signatureValue BIT STRING }
//   tbsCertList      SEQUENCE { version INTEGER OPTIONAL, signature SEQUENCE, issuer SEQUENCE, thisUpdate, nextUpdate OPTIONAL,
//                               revokedCertificates SEQUENCE OPTIONAL, crlExtensions [0] OPTIONAL }
//   an entry         SEQUENCE { userCertificate INTEGER, revocationDate, crlEntryExtensions SEQUENCE OPTIONAL }
//
// Contract: total, and linear in the length. Each octet of the list is in exactly one of its parts.

/// A list that has entries, taken apart.
struct RevocationListParts {
  /// tbsCertList, which is signed.
  let signed: [UInt8]
  let signature: [UInt8]
  /// The list without revokedCertificates.
  let withoutEntries: [UInt8]
  let serials: Set<[UInt8]>

  private static let integer: UInt8 = 0x02, bits: UInt8 = 0x03, sequence: UInt8 = 0x30, extensions: UInt8 = 0xA0
  private static let times: ClosedRange<UInt8> = 0x17...0x18

  /// nil if it is of another form, or has no entries.
  init?(_ octets: [UInt8]) {
    typealias Parts = RevocationListParts
    guard let list = DERElement(octets, 0..<octets.count), list.tag == Parts.sequence, list.all.upperBound == octets.count,
      let parts = list.elements(of: octets), parts.count == 3, parts[0].tag == Parts.sequence, parts[2].tag == Parts.bits,
      octets[parts[2].content].first == 0, let fields = parts[0].elements(of: octets)
    else { return nil }
    var position = fields.first?.tag == Parts.integer ? 3 : 2
    guard position < fields.count, Parts.times.contains(fields[position].tag) else { return nil }
    position += 1
    if position < fields.count, Parts.times.contains(fields[position].tag) { position += 1 }
    guard position < fields.count, fields[position].tag == Parts.sequence, let entries = fields[position].elements(of: octets) else { return nil }
    let rest = fields[(position + 1)...]
    guard rest.isEmpty || rest.count == 1 && rest[position + 1].tag == Parts.extensions else { return nil }
    var serials: Set<[UInt8]> = []
    serials.reserveCapacity(entries.count)
    for entry in entries {
      // The library reads no serial number longer than this of a certificate either.
      guard entry.tag == Parts.sequence, let serial = DERElement(octets, entry.content), serial.tag == Parts.integer,
        (1...128).contains(serial.content.count)
      else { return nil }
      serials.insert(Array(octets[serial.content]))
    }
    self.serials = serials
    signed = Array(octets[parts[0].all])
    signature = Array(octets[parts[2].content].dropFirst())
    let kept = octets[parts[0].content.lowerBound..<fields[position].all.lowerBound] + octets[fields[position].all.upperBound..<parts[0].content.upperBound]
    withoutEntries = DERElement.sequence(DERElement.sequence(Array(kept)) + octets[parts[0].all.upperBound...])
  }
}

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
