// RevocationListParts: the parts of a revocation list in DER (RFC 5280, 5.1):
//
//   CertificateList  SEQUENCE { tbsCertList, signatureAlgorithm SEQUENCE, signatureValue BIT STRING }
//   tbsCertList      SEQUENCE { version INTEGER OPTIONAL, signature SEQUENCE, issuer SEQUENCE, thisUpdate, nextUpdate OPTIONAL,
//                               revokedCertificates SEQUENCE OPTIONAL, crlExtensions [0] OPTIONAL }
//   an entry         SEQUENCE { userCertificate INTEGER, revocationDate, crlEntryExtensions SEQUENCE OPTIONAL }
//
// Contract: total, and linear in the length. Each octet of the list is in exactly one of its parts. The entries are not looked
// at here: there may be 50,000, and `RevocationEntries` reads some at a time.

/// A list that has entries, taken apart.
struct RevocationListParts {
  /// tbsCertList, which is signed.
  let signed: Range<Int>
  let signature: Range<Int>
  /// The entries, one after the other.
  let entries: Range<Int>
  /// The list without revokedCertificates.
  let withoutEntries: [UInt8]
  /// How long the salt of an RSA-PSS signature is (RFC 4055, 3.1); nil if that is not known.
  let saltLength: Int?

  private static let integer: UInt8 = 0x02, bits: UInt8 = 0x03, sequence: UInt8 = 0x30, extensions: UInt8 = 0xA0, salt: UInt8 = 0xA2
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
    guard position < fields.count, fields[position].tag == Parts.sequence else { return nil }
    let rest = fields[(position + 1)...]
    guard rest.isEmpty || rest.count == 1 && rest[position + 1].tag == Parts.extensions else { return nil }
    signed = parts[0].all
    signature = parts[2].content.lowerBound + 1..<parts[2].content.upperBound
    entries = fields[position].content
    let kept = octets[parts[0].content.lowerBound..<fields[position].all.lowerBound] + octets[fields[position].all.upperBound..<parts[0].content.upperBound]
    withoutEntries = DERElement.sequence(DERElement.sequence(Array(kept)) + octets[parts[0].all.upperBound...])
    saltLength = Parts.saltLength(parts[1], octets)
  }

  /// Reads the parameters of an algorithm: SEQUENCE { OBJECT IDENTIFIER, SEQUENCE { ..., saltLength [2] INTEGER DEFAULT 20, ... } }.
  private static func saltLength(_ algorithm: DERElement, _ octets: [UInt8]) -> Int? {
    guard let parts = algorithm.elements(of: octets), parts.count == 2, let parameters = parts[1].elements(of: octets) else { return nil }
    guard let field = parameters.first(where: { $0.tag == salt }) else { return 20 }
    guard let number = DERElement(octets, field.content), number.tag == integer, (1...2).contains(number.content.count) else { return nil }
    let value = octets[number.content].reduce(0) { $0 << 8 | Int($1) }
    // The first bit of the first octet is the sign.
    return octets[number.content.lowerBound] < 0x80 ? value : nil
  }
}

/// The entries of a list that are not read yet.
struct RevocationEntries {
  private var rest: Range<Int>

  init(_ entries: Range<Int>) { rest = entries }

  /// True after the last one.
  var isEmpty: Bool { rest.isEmpty }

  /// Reads the next entries.
  ///
  /// - Parameters:
  ///   - octets: the complete list.
  ///   - count: how many at most.
  ///   - serials: gets their serial numbers.
  /// - Returns: false if one is not of the form above.
  mutating func read(of octets: [UInt8], atMost count: Int, into serials: inout SerialNumbers) -> Bool {
    for _ in 0..<count {
      if rest.isEmpty { break }
      // The library reads no serial number longer than this of a certificate either.
      guard let entry = DERElement(octets, rest), entry.tag == 0x30, let serial = DERElement(octets, entry.content), serial.tag == 0x02,
        (1...128).contains(serial.content.count)
      else { return false }
      serials.insert(octets[serial.content])
      rest = entry.all.upperBound..<rest.upperBound
    }
    return true
  }
}
