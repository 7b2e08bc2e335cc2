// RevokedCertificates: what the revocation lists of the clients' issuers say (RFC 5280, 5), for all server names.
//
// Of the lists only the serial numbers are kept, by issuer: the library would search a list from its start for each
// client, and would need a copy of it for each server name. The numbers of a large list are read in several steps.

import CGnuTLS
import Glibc

/// The serial numbers of revoked certificates, and until when that is known, by the name of the issuer in DER.
struct RevokedCertificates {
  private var issuers: [[UInt8]: Issuer] = [:]
  private var expired: [Expired] = []
  private var pending: Pending?

  /// A list whose entries are being read.
  private struct Pending {
    let list: RevocationList
    let path: String
    let issuer: [UInt8]
    var entries: RevocationEntries
  }
  /// The files with a list that has expired and that none of the issuers signed.
  private var unsigned: [String] = []
  /// The files with a list that one of the issuers signed.
  private var signed: Set<String> = []

  private struct Issuer {
    var serials = SerialNumbers()
    /// The last end of its lists, in seconds since 1970; nil if none has an end.
    var end: Int?
  }

  /// A list that had expired when it was read.
  private struct Expired {
    let path: String
    let issuer: [UInt8]
    let end: Int
  }

  /// What is known of a certificate.
  enum Status {
    case good
    case revoked
    /// The last list of its issuer has expired.
    case unknown
  }

  /// True if there is no list.
  var isEmpty: Bool { issuers.isEmpty }

  /// How many entries are read in a step, in a fraction of a millisecond.
  private static let entriesInAStep = 1024

  /// How many serial numbers it has.
  var count: Int { issuers.values.reduce(0) { $0 + $1.serials.count } }

  /// Begins to add a list in DER. Its entries follow in further steps.
  ///
  /// - Parameters:
  ///   - path: its file.
  ///   - trusted: those of whom one must have signed each list that has not expired. A list that has expired and that none of
  ///     them has signed has no effect.
  mutating func begin(_ octets: [UInt8], of path: String, signedBy trusted: TrustedIssuers) throws(TLSCredentialsError) {
    var code: CInt = 0
    guard let read = RevocationList.read(octets, &code) else { throw .badRevocations(path: path, libraryText(code)) }
    let list = read.list
    guard !read.isDelta else { throw .badRevocations(path: path, "a delta list, which lists changes only: name the complete list") }
    guard let issuer = derName({ gnutls_x509_crl_get_raw_issuer_dn(list, $0) }) else { throw .badRevocations(path: path, "a list without an issuer") }
    let now = time(nil)
    let end = gnutls_x509_crl_get_next_update(list)
    let isExpired = end >= 0 && end <= now
    guard trusted.haveSigned(read) else {
      if isExpired { return unsigned.append(path) }
      throw .badRevocations(path: path, "not signed by one of the issuers that are trusted")
    }
    signed.insert(path)
    if end >= 0 { issuers[issuer, default: Issuer()].end = max(end, issuers[issuer]?.end ?? end) }
    if isExpired { expired.append(Expired(path: path, issuer: issuer, end: end)) }
    // What a list revokes stays revoked after its end, also beside a later list without it.
    if let parts = read.parts {
      pending = Pending(list: read, path: path, issuer: issuer, entries: RevocationEntries(parts.entries))
    } else {
      try RevokedCertificates.read(list, path, into: &issuers[issuer, default: Issuer()].serials)
    }
  }

  /// True if entries of the list are not read yet.
  var isReading: Bool { pending != nil }

  /// Reads the next entries of the list. One that cannot be read must not be missing.
  mutating func readOn() throws(TLSCredentialsError) {
    guard var reading = pending.take() else { return }
    let isRead = reading.entries.read(of: reading.list.octets, atMost: RevokedCertificates.entriesInAStep, into: &issuers[reading.issuer, default: Issuer()].serials)
    guard isRead else { throw .badRevocations(path: reading.path, "an entry that cannot be read") }
    if !reading.entries.isEmpty { pending = reading }
  }

  /// Called after the last list of a file. One without effect revokes nothing: whoever can exchange the file, but cannot sign,
  /// would make all certificates good.
  func end(_ path: String) throws(TLSCredentialsError) {
    guard signed.contains(path) else { throw .badRevocations(path: path, "no list in it is signed by one of the issuers that are trusted") }
  }

  /// Adds a list in DER, in one step.
  mutating func add(_ octets: [UInt8], of path: String, signedBy trusted: TrustedIssuers) throws(TLSCredentialsError) {
    try begin(octets, of: path, signedBy: trusted)
    while isReading { try readOn() }
  }

  /// For the operator, after the last file: the files whose lists have expired without a later one of their issuer, or unsigned.
  var warnings: [String] {
    let last = expired.filter { issuers[$0.issuer]?.end == $0.end }
    let paths = last.indices.filter { index in !last[..<index].contains { $0.path == last[index].path } }.map { last[$0].path }
    let others = unsigned.indices.filter { !unsigned[..<$0].contains(unsigned[$0]) }.map { index in
      "\(unsigned[index]): a revocation list has expired and is not signed by one of the issuers that are trusted: it has no effect: fetch it again"
    }
    return others + paths.map { path in
      let end = last.filter { $0.path == path }.map(\.end).min() ?? 0
      return "\(path): this revocation list expired on \(calendarDate(end)), and the certificates of its issuer are refused: fetch it again"
    }
  }

  /// Reads the serial numbers of a list of the library. A number that cannot be read must not be missing.
  private static func read(_ list: gnutls_x509_crl_t, _ path: String, into serials: inout SerialNumbers) throws(TLSCredentialsError) {
    var iterator: gnutls_x509_crl_iter_t?
    defer { gnutls_x509_crl_iter_deinit(iterator) }
    while true {
      var code: CInt = 0
      let serial = serialNumber { code = gnutls_x509_crl_iter_crt_serial(list, &iterator, $0, &$1, nil); return code }
      if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return }
      guard let serial else { throw .badRevocations(path: path, libraryText(code)) }
      serials.insert(serial[...])
    }
  }

  /// What is known of a certificate. One without an issuer or a serial number is as good as revoked.
  func status(of certificate: gnutls_x509_crt_t, now: Int) -> Status {
    guard let name = derName({ gnutls_x509_crt_get_raw_issuer_dn(certificate, $0) }),
      let serial = serialNumber({ gnutls_x509_crt_get_serial(certificate, $0, &$1) })
    else { return .revoked }
    guard let issuer = issuers[name] else { return .good }
    if issuer.serials.contains(serial) { return .revoked }
    return issuer.end.map { $0 <= now } ?? false ? .unknown : .good
  }
}

/// The octets of a serial number; nil if it cannot be read.
///
/// - Parameter read: the library's function, with a buffer and its size.
private func serialNumber(_ read: (UnsafeMutablePointer<UInt8>, inout Int) -> CInt) -> [UInt8]? {
  // The library accepts no longer one.
  var size = 128
  var code: CInt = 0
  let serial = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
    code = read(buffer.baseAddress!, &size)
    count = code >= 0 ? size : 0
  }
  return code >= 0 ? serial : nil
}

/// A distinguished name in DER, as the library returns it.
private func derName(_ read: (UnsafeMutablePointer<gnutls_datum_t>) -> CInt) -> [UInt8]? {
  var name = gnutls_datum_t()
  guard read(&name) >= 0, let data = name.data else { return nil }
  defer { shim_gnutls_free(data) }
  return Array(UnsafeBufferPointer(start: data, count: Int(name.size)))
}
