// SelfSigned: creates a self-signed certificate for a server that has none yet.
//
// It creates an ECDSA P-256 key and a certificate signed with that key. They are stored as `key.pem` (mode 0600) and
// `certificate.pem` (mode 0644) in one folder and are used again while valid. Mail senders that use TLS
// opportunistically do not check the name: such a certificate protects against passive listeners, not against an active
// attacker in the middle.
//
// Contract: each file appears completely or not at all: it is written under a temporary name, synchronised to disk, and
// renamed. The key never exists with another mode. Of several processes with one folder, one creates the pair. After a
// crash between the two files the pair does not match; it is replaced at the next start. A certificate that is not
// self-signed is never overwritten.

import CGnuTLS
import Glibc
import Transport

/// Creates and stores self-signed certificates.
public enum SelfSigned {
  /// The pair of files in a folder. A new pair is created if there is none, if it has expired or expires within a week,
  /// if it does not cover the names, or if certificate and key do not match.
  ///
  /// - Parameters:
  ///   - folder: created with mode 0700 if it does not exist; its parent must exist.
  ///   - names: the DNS names to certify, at least one.
  ///   - validDays: how many days a new certificate is valid.
  /// - Throws: `.badName`, `.unwritable`, `.unreadable`, `.notSelfSigned`, `.library`.
  public static func pair(
    in folder: String, names: [String], validDays: Int = 3650
  ) throws(TLSCredentialsError) -> TLSCredentials.Pair {
    let pair = files(in: folder)
    if try isUsable(in: folder, names: names) { return pair }
    do {
      try Kernel.makeFolder(folder, mode: 0o700)
    } catch {
      guard error.code == EEXIST else { throw .unwritable(path: folder, error) }
    }
    let lock = try locked(folder)
    defer { _ = lock }
    // Another process may have created it meanwhile.
    if try isUsable(in: folder, names: names) { return pair }
    let made = try Certificate(names: names, validDays: validDays)
    try made.withKey { (octets) throws(TLSCredentialsError) in
      try replace("key.pem", in: folder, mode: 0o600, octets)
    }
    try made.withCertificate { (octets) throws(TLSCredentialsError) in
      try replace("certificate.pem", in: folder, mode: 0o644, octets)
    }
    return pair
  }

  /// The names of the files in a folder.
  public static func files(in folder: String) -> TLSCredentials.Pair {
    TLSCredentials.Pair(certificate: "\(folder)/certificate.pem", key: "\(folder)/key.pem")
  }

  /// True if the files exist and `pair` would use them as they are. It writes nothing.
  ///
  /// - Throws: as `pair`, if a file exists there that must not be overwritten.
  public static func isUsable(in folder: String, names: [String]) throws(TLSCredentialsError) -> Bool {
    guard !names.isEmpty else { throw .badName("") }
    for name in names where !isDNSName(name) { throw .badName(name) }
    let pair = files(in: folder)
    do throws(TLSCredentialsError) {
      let chain = try CertificateChain(CredentialFile(pair.certificate), path: pair.certificate)
      guard chain.isSelfSigned else { throw .notSelfSigned(path: pair.certificate) }
      guard chain.covers(names), chain.validUntil > time(nil) + 7 * 86_400 else { return false }
      _ = try TLSCredentials([pair])
      return true
    } catch {
      switch error {
      case .unreadable(_, let cause) where cause.code == ENOENT: return false
      case .expired, .notYetValid, .mismatch: return false
      case .badCertificate: throw .notSelfSigned(path: pair.certificate)
      case .badKey: throw .notSelfSigned(path: pair.key)
      default: throw error
      }
    }
  }

  /// The folder, open and locked against other processes that create a pair there, until it is closed.
  private static func locked(_ folder: String) throws(TLSCredentialsError) -> Descriptor {
    do throws(SystemError) {
      let directory = Descriptor(adopting: try Kernel.open(folder, O_RDONLY | O_DIRECTORY))
      try Kernel.lock(directory.number)
      return directory
    } catch {
      throw .unwritable(path: folder, error)
    }
  }

  /// Writes a file under a temporary name, synchronises it to disk and renames it.
  private static func replace(
    _ name: String, in folder: String, mode: mode_t, _ octets: UnsafeRawBufferPointer
  ) throws(TLSCredentialsError) {
    let path = "\(folder)/\(name)"
    let draft = "\(folder)/.\(name).\(getpid())"
    do throws(SystemError) {
      // Removes a file left by a crashed process with the same process number.
      try? Kernel.unlink(draft)
      let file = Descriptor(adopting: try Kernel.open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600))
      do throws(SystemError) {
        var rest = octets
        while !rest.isEmpty {
          rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(try Kernel.write(file.number, rest)))
        }
        if mode != 0o600 { try Kernel.setMode(file.number, mode) }
        try Kernel.sync(file.number)
        try Kernel.rename(draft, path)
      } catch {
        try? Kernel.unlink(draft)
        throw error
      }
      let directory = Descriptor(adopting: try Kernel.open(folder, O_RDONLY | O_DIRECTORY))
      try Kernel.sync(directory.number)
    } catch {
      throw .unwritable(path: path, error)
    }
  }
}

/// A new key and the certificate signed with it.
private struct Certificate: ~Copyable {
  private var key = gnutls_datum_t()
  private var certificate = gnutls_datum_t()

  init(names: [String], validDays: Int) throws(TLSCredentialsError) {
    var privateKey: gnutls_x509_privkey_t?
    try Certificate.check(gnutls_x509_privkey_init(&privateKey))
    defer { gnutls_x509_privkey_deinit(privateKey) }
    let bits = shim_gnutls_curve_bits(GNUTLS_ECC_CURVE_SECP256R1)
    try Certificate.check(gnutls_x509_privkey_generate(privateKey, GNUTLS_PK_ECDSA, bits, 0))

    var draft: gnutls_x509_crt_t?
    try Certificate.check(gnutls_x509_crt_init(&draft))
    defer { gnutls_x509_crt_deinit(draft) }
    try Certificate.check(gnutls_x509_crt_set_version(draft, 3))
    var serial = [UInt8](repeating: 0, count: 16)
    try Certificate.check(gnutls_rnd(GNUTLS_RND_NONCE, &serial, serial.count))
    // Positive and of fixed length, as RFC 5280, 4.1.2.2 requires.
    serial[0] = serial[0] & 0x3f | 0x40
    try Certificate.check(gnutls_x509_crt_set_serial(draft, serial, serial.count))
    // Valid from yesterday on, because the clocks of peers differ.
    let now = time(nil)
    try Certificate.check(gnutls_x509_crt_set_activation_time(draft, now - 86_400))
    try Certificate.check(gnutls_x509_crt_set_expiration_time(draft, now + validDays * 86_400))
    // A common name has at most 64 octets (RFC 5280, appendix A.1).
    let commonName = names.first { $0.utf8.count <= 64 } ?? "localhost"
    try Certificate.check(
      gnutls_x509_crt_set_dn_by_oid(draft, GNUTLS_OID_X520_COMMON_NAME, 0, commonName, UInt32(commonName.utf8.count)))
    for name in names {
      try Certificate.check(
        gnutls_x509_crt_set_subject_alt_name(
          draft, GNUTLS_SAN_DNSNAME, name, UInt32(name.utf8.count), UInt32(GNUTLS_FSAN_APPEND)))
    }
    try Certificate.check(gnutls_x509_crt_set_basic_constraints(draft, 0, -1))
    try Certificate.check(gnutls_x509_crt_set_key_usage(draft, UInt32(GNUTLS_KEY_DIGITAL_SIGNATURE)))
    try Certificate.check(gnutls_x509_crt_set_key_purpose_oid(draft, GNUTLS_KP_TLS_WWW_SERVER, 0))
    try Certificate.check(gnutls_x509_crt_set_key(draft, privateKey))
    try Certificate.check(gnutls_x509_crt_sign2(draft, draft, privateKey, GNUTLS_DIG_SHA256, 0))
    try Certificate.check(gnutls_x509_privkey_export2(privateKey, GNUTLS_X509_FMT_PEM, &key))
    try Certificate.check(gnutls_x509_crt_export2(draft, GNUTLS_X509_FMT_PEM, &certificate))
  }

  deinit {
    if let data = key.data {
      gnutls_memset(data, 0, Int(key.size))
      shim_gnutls_free(data)
    }
    if let data = certificate.data { shim_gnutls_free(data) }
  }

  borrowing func withKey(
    _ body: (UnsafeRawBufferPointer) throws(TLSCredentialsError) -> Void
  ) throws(TLSCredentialsError) {
    try body(UnsafeRawBufferPointer(start: key.data, count: Int(key.size)))
  }

  borrowing func withCertificate(
    _ body: (UnsafeRawBufferPointer) throws(TLSCredentialsError) -> Void
  ) throws(TLSCredentialsError) {
    try body(UnsafeRawBufferPointer(start: certificate.data, count: Int(certificate.size)))
  }

  private static func check(_ code: CInt) throws(TLSCredentialsError) {
    guard code >= 0 else { throw .library(libraryText(code)) }
  }
}
