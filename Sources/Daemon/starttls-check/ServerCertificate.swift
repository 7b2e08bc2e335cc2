// ServerCertificate: what can be said of a server's certificate: its dates, its names, and the TLSA records that match it.

import CGnuTLS
import Glibc

/// The chain that a server sent.
struct ServerCertificate: ~Copyable {
  private let certificates: [gnutls_x509_crt_t]

  /// nil if there is none, or it cannot be parsed.
  init?(_ session: gnutls_session_t) {
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(session, &count), count > 0 else { return nil }
    var certificates: [gnutls_x509_crt_t] = []
    for index in 0..<Int(min(count, 16)) {
      var certificate: gnutls_x509_crt_t?
      guard gnutls_x509_crt_init(&certificate) >= 0, let certificate else { break }
      var datum = list[index]
      guard gnutls_x509_crt_import(certificate, &datum, GNUTLS_X509_FMT_DER) >= 0 else {
        gnutls_x509_crt_deinit(certificate)
        break
      }
      certificates.append(certificate)
    }
    guard !certificates.isEmpty else { return nil }
    self.certificates = certificates
  }

  deinit {
    for certificate in certificates { gnutls_x509_crt_deinit(certificate) }
  }

  /// `right`, `expired`, `early` or `soon` (within 14 days), and a text.
  func dates(now: Int) -> (String, String) {
    let from = gnutls_x509_crt_get_activation_time(certificates[0])
    let until = gnutls_x509_crt_get_expiration_time(certificates[0])
    let text = "valid from \(ServerCertificate.day(from)) until \(ServerCertificate.day(until))"
    if now > until { return ("expired", text) }
    if now < from { return ("early", text) }
    // A certificate for a few days is renewed by a program.
    return (until - now < 14 * 86_400 && until - from > 30 * 86_400 ? "soon" : "right", text)
  }

  /// `right` or `wrong`, and a text. The library also compares the common name, which RFC 9525, 2, and RFC 8461, 4.1, do not allow.
  func name(_ host: String) -> (String, String) {
    guard gnutls_x509_crt_check_hostname(certificates[0], host) != 0 else { return ("wrong", "the certificate is not for \(host)") }
    guard hasAlternativeName else {
      return ("wrong", "the certificate has \(host) as its common name only, not as a subject alternative name")
    }
    return ("right", "the certificate is for \(host)")
  }

  /// True if a subject alternative name is that of a host.
  private var hasAlternativeName: Bool {
    for index: UInt32 in 0..<1024 {
      var name = [CChar](repeating: 0, count: 1024)
      var size = name.count
      let kind = gnutls_x509_crt_get_subject_alt_name(certificates[0], index, &name, &size, nil)
      if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return false }
      if kind >= 0, [GNUTLS_SAN_DNSNAME, GNUTLS_SAN_IPADDRESS].contains(gnutls_x509_subject_alt_name_t(UInt32(kind))) { return true }
    }
    return false
  }

  /// `right` if one of the records matches (RFC 6698, RFC 7672), else `wrong`; and the record 3 1 1 of this certificate.
  func tlsa(_ records: [TLSARecord]) -> (String, String) {
    let own = TLSARecord.text(3, 1, 1, digest(publicKey(certificates[0]), GNUTLS_DIG_SHA256) ?? [])
    let matches = records.contains { record in
      switch record.usage {
      case 3: self.matches(record, certificates[0])
      // The chain to an anchor is not verified here, only that the server sends the anchor.
      case 2: certificates.contains { self.matches(record, $0) }
      default: false
      }
    }
    return (matches ? "right" : "wrong", "the server's record is \(own)")
  }

  private func matches(_ record: TLSARecord, _ certificate: gnutls_x509_crt_t) -> Bool {
    let content = record.selector == 0 ? whole(certificate) : publicKey(certificate)
    return switch record.matching {
    case 0: content == record.data
    case 1: digest(content, GNUTLS_DIG_SHA256) == record.data
    case 2: digest(content, GNUTLS_DIG_SHA512) == record.data
    default: false
    }
  }

  private func whole(_ certificate: gnutls_x509_crt_t) -> [UInt8] {
    var datum = gnutls_datum_t()
    guard gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &datum) >= 0 else { return [] }
    return ServerCertificate.take(datum)
  }

  private func publicKey(_ certificate: gnutls_x509_crt_t) -> [UInt8] {
    var key: gnutls_pubkey_t?
    guard gnutls_pubkey_init(&key) >= 0, let key else { return [] }
    defer { gnutls_pubkey_deinit(key) }
    var datum = gnutls_datum_t()
    guard gnutls_pubkey_import_x509(key, certificate, 0) >= 0, gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &datum) >= 0
    else { return [] }
    return ServerCertificate.take(datum)
  }

  private static func take(_ datum: gnutls_datum_t) -> [UInt8] {
    defer { shim_gnutls_free(datum.data) }
    return Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
  }

  private func digest(_ octets: [UInt8], _ algorithm: gnutls_digest_algorithm_t) -> [UInt8]? {
    guard !octets.isEmpty else { return nil }
    var result = [UInt8](repeating: 0, count: Int(gnutls_hash_get_len(algorithm)))
    return gnutls_hash_fast(algorithm, octets, octets.count, &result) >= 0 ? result : nil
  }

  private static func day(_ seconds: Int) -> String {
    var time = time_t(seconds)
    var parts = tm()
    gmtime_r(&time, &parts)
    func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
  }
}

/// A TLSA record, as given by the user: `3 1 1 HEX`.
struct TLSARecord: Hashable {
  let usage: Int
  let selector: Int
  let matching: Int
  let data: [UInt8]

  /// nil if the text is no record that can be compared.
  init?(_ text: String) {
    let words = text.split(separator: " ")
    guard words.count >= 4, let usage = Int(words[0]), let selector = Int(words[1]), let matching = Int(words[2]),
      (2...3).contains(usage), (0...1).contains(selector), (0...2).contains(matching)
    else { return nil }
    let digits = words[3...].joined().utf8.compactMap { UInt8(String(UnicodeScalar($0)), radix: 16) }
    guard digits.count == words[3...].joined().utf8.count, digits.count % 2 == 0, !digits.isEmpty else { return nil }
    (self.usage, self.selector, self.matching) = (usage, selector, matching)
    data = stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  static func text(_ usage: Int, _ selector: Int, _ matching: Int, _ data: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return "\(usage) \(selector) \(matching) " + String(data.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }
}
