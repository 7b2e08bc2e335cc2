// Certificate: a server's certificate chain and its key in the library's form, and the checks on them.

import CGnuTLS

/// A certificate chain: the server's own first, then its issuers.
struct CertificateChain: ~Copyable {
  /// The maximum number of certificates in a file. Clients verify no longer chain (OpenSSL's default depth is 100 as
  /// well), and each handshake sends the whole chain.
  static let limit = 100

  private let list: UnsafeMutablePointer<gnutls_x509_crt_t?>
  /// How many certificates were read.
  private let count: Int
  /// How many of them, counted from the first, form the chain.
  private let length: Int

  /// Reads a chain from a file. The issuers may be in any order, with other certificates among them.
  ///
  /// - Throws: `.badCertificate`, `.chainTooLong`.
  init(_ file: borrowing CredentialFile, path: String) throws(TLSCredentialsError) {
    var list: UnsafeMutablePointer<gnutls_x509_crt_t?>?
    var count: UInt32 = 0
    let form = file.form
    let code = file.withDatum { gnutls_x509_crt_list_import2(&list, &count, &$0, form, 0) }
    guard code >= 0, count > 0, let list else { throw .badCertificate(path: path, libraryText(code)) }
    guard count <= CertificateChain.limit else {
      for index in 0..<Int(count) { gnutls_x509_crt_deinit(list[index]) }
      shim_gnutls_free(list)
      throw .chainTooLong(path: path, count: Int(count))
    }
    self.list = list
    self.count = Int(count)
    length = CertificateChain.sort(list, Int(count))
  }

  /// Sorts the chain: each certificate is followed by its issuer. The library sorts at most 16.
  ///
  /// - Returns: how many form a chain; the others follow them.
  private static func sort(_ list: UnsafeMutablePointer<gnutls_x509_crt_t?>, _ count: Int) -> Int {
    for last in 0..<count {
      guard gnutls_x509_crt_check_issuer(list[last], list[last]) == 0,
        let issuer = (last + 1..<count).first(where: { gnutls_x509_crt_check_issuer(list[last], list[$0]) != 0 })
      else { return last + 1 }
      (list[last + 1], list[issuer]) = (list[issuer], list[last + 1])
    }
    return count
  }

  deinit {
    for index in 0..<count { gnutls_x509_crt_deinit(list[index]) }
    shim_gnutls_free(list)
  }

  /// The server's own certificate. It must not outlive the chain.
  var own: gnutls_x509_crt_t? { list[0] }
  /// The certificate that signed it, if it is in the chain; a self-signed one is its own issuer.
  var issuer: gnutls_x509_crt_t? { length > 1 ? list[1] : isSelfSigned ? list[0] : nil }

  /// Seconds since 1970.
  var validFrom: Int { gnutls_x509_crt_get_activation_time(list[0]) }
  /// Seconds since 1970.
  var validUntil: Int { gnutls_x509_crt_get_expiration_time(list[0]) }
  /// The DNS names of the server's own certificate; without any, its common name.
  var names: [String] {
    var names: [String] = []
    var number: UInt32 = 0
    while true {
      var buffer = [CChar](repeating: 0, count: 1024)
      var size = buffer.count
      let type = gnutls_x509_crt_get_subject_alt_name(list[0], number, &buffer, &size, nil)
      if type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
      if type == CInt(GNUTLS_SAN_DNSNAME.rawValue) { names.append(text(buffer, size)) }
      number += 1
    }
    guard names.isEmpty else { return names }
    var buffer = [CChar](repeating: 0, count: 1024)
    var size = buffer.count
    guard gnutls_x509_crt_get_dn_by_oid(list[0], GNUTLS_OID_X520_COMMON_NAME, 0, 0, &buffer, &size) >= 0 else { return [] }
    return [text(buffer, size)]
  }

  private func text(_ buffer: [CChar], _ size: Int) -> String {
    String(decoding: buffer.prefix(size).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The algorithm and size of the server's own key: `EC/ECDSA, 256 bits`.
  var keyType: String {
    var bits: UInt32 = 0
    return TransportTLS.keyType(gnutls_x509_crt_get_pk_algorithm(list[0], &bits), bits)
  }

  /// SHA-256 of the server's own public key (SubjectPublicKeyInfo); nil if it cannot be computed.
  var publicKeyDigest: [UInt8]? {
    let flag = GNUTLS_KEYID_USE_SHA256.rawValue
    return publicKeyIdentifier { gnutls_x509_crt_get_key_id(list[0], flag, $0, &$1) }
  }

  /// True if the certificate names itself as its issuer.
  var isSelfSigned: Bool { gnutls_x509_crt_check_issuer(list[0], list[0]) != 0 }

  /// True if it covers all of the names.
  func covers(_ names: [String]) -> Bool {
    names.allSatisfy { gnutls_x509_crt_check_hostname(list[0], $0) != 0 }
  }

  /// True if the server's own certificate belongs to this key: their public keys are equal.
  func isFor(_ key: borrowing PrivateKey) -> Bool {
    let own = publicKeyDigest
    return own != nil && own == key.publicKeyDigest
  }

  /// True if the server's own certificate belongs to this key of another process.
  func isFor(_ key: HeldKey) -> Bool { publicKeyDigest == key.publicKeyDigest }

  /// Adds a copy of the chain and its key to credentials; returns the library's code.
  func add(with key: borrowing PrivateKey, to certificates: gnutls_certificate_credentials_t) -> CInt {
    gnutls_certificate_set_x509_key(certificates, list, CInt(length), key.key)
  }

  /// Adds a copy of the chain and a key of another process to credentials; returns the library's code.
  func add(with held: HeldKey, to certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) -> CInt {
    let key = try held.makeKey()
    var copies = [gnutls_pcert_st](repeating: gnutls_pcert_st(), count: length)
    var copied = 0
    var code: CInt = 0
    while copied < length, code >= 0 {
      code = gnutls_pcert_import_x509(&copies[copied], list[copied], 0)
      if code >= 0 { copied += 1 }
    }
    if code >= 0 {
      // The library chooses among several certificates by these names. With the key in this process it reads them itself.
      code = withCStrings(names) { gnutls_certificate_set_key(certificates, $0, CInt($1), &copies, CInt(length), key) }
    }
    // The credentials own the copies and the key, unless the call failed.
    guard code < 0 else { return code }
    for index in 0..<copied { gnutls_pcert_deinit(&copies[index]) }
    gnutls_privkey_deinit(key)
    return code
  }
}

/// Passes texts as an array of C strings, with their number.
private func withCStrings<Result>(
  _ texts: [String], _ body: (UnsafeMutablePointer<UnsafePointer<CChar>?>, Int) -> Result
) -> Result {
  var octets = texts.flatMap { Array($0.utf8CString) }
  return octets.withUnsafeMutableBufferPointer { octets in
    var pointers: [UnsafePointer<CChar>?] = []
    var offset = 0
    for text in texts {
      pointers.append(octets.baseAddress.map { UnsafePointer($0 + offset) })
      offset += text.utf8.count + 1
    }
    pointers.append(nil)
    return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!, texts.count) }
  }
}

/// A private key. GnuTLS wipes it when the value ends. It only frees the buffer decoded from PEM; from DER no copy
/// remains.
struct PrivateKey: ~Copyable {
  fileprivate let key: gnutls_x509_privkey_t

  /// Reads an unencrypted key from a file.
  ///
  /// - Throws: `.badKey`.
  init(_ file: borrowing CredentialFile, path: String) throws(TLSCredentialsError) {
    var key: gnutls_x509_privkey_t?
    var code = gnutls_x509_privkey_init(&key)
    guard code >= 0, let key else { throw .library(libraryText(code)) }
    let form = file.form
    code = file.withDatum { gnutls_x509_privkey_import2(key, &$0, form, nil, 0) }
    guard code >= 0 else {
      gnutls_x509_privkey_deinit(key)
      throw .badKey(path: path, libraryText(code))
    }
    self.key = key
  }

  deinit { gnutls_x509_privkey_deinit(key) }

  /// A copy of the key in the form that signs; the caller ends it.
  func makeKey() throws(TLSCredentialsError) -> gnutls_privkey_t {
    var created: gnutls_privkey_t?
    var code = gnutls_privkey_init(&created)
    guard code >= 0, let copy = created else { throw .library(libraryText(code)) }
    code = gnutls_privkey_import_x509(copy, key, UInt32(GNUTLS_PRIVKEY_IMPORT_COPY.rawValue))
    guard code >= 0 else {
      gnutls_privkey_deinit(copy)
      throw .library(libraryText(code))
    }
    return copy
  }

  /// Passes the key as an unencrypted PKCS #8 structure in DER, which is wiped after that; nil if it cannot be made.
  func withStructure<Result>(_ body: (UnsafePointer<UInt8>, Int) -> Result?) -> Result? {
    var made = gnutls_datum_t()
    guard gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_DER, nil, GNUTLS_PKCS_PLAIN.rawValue, &made) >= 0, let data = made.data
    else { return nil }
    defer {
      gnutls_memset(data, 0, Int(made.size))
      shim_gnutls_free(data)
    }
    return body(data, Int(made.size))
  }

  /// The algorithm and size: `RSA, 2048 bits`.
  var keyType: String {
    var bits: UInt32 = 0
    return TransportTLS.keyType(gnutls_x509_privkey_get_pk_algorithm2(key, &bits), bits)
  }

  /// SHA-256 of its public key (SubjectPublicKeyInfo); nil if it cannot be computed.
  var publicKeyDigest: [UInt8]? {
    let flag = GNUTLS_KEYID_USE_SHA256.rawValue
    return publicKeyIdentifier { gnutls_x509_privkey_get_key_id(key, flag, $0, &$1) }
  }
}

private func keyType(_ algorithm: CInt, _ bits: UInt32) -> String {
  let name = gnutls_pk_algorithm_get_name(gnutls_pk_algorithm_t(rawValue: UInt32(max(0, algorithm))))
  return "\(name.map { String(cString: $0) } ?? "unknown"), \(bits) bits"
}

/// SHA-256 of a public key; nil if it cannot be computed.
///
/// - Parameter compute: the library's function, with a buffer and its size.
private func publicKeyIdentifier(_ compute: (UnsafeMutablePointer<UInt8>, inout Int) -> CInt) -> [UInt8]? {
  var size = 32
  var code: CInt = 0
  let identifier = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
    code = compute(buffer.baseAddress!, &size)
    count = code >= 0 ? size : 0
  }
  return code >= 0 ? identifier : nil
}
