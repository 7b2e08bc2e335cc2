// ServerNames: the server name that a client requests (SNI) and the certificates that it gets.
//
// The name is untrusted text of the client: only a DNS name counts, in lower case. Any other name has no effect, see
// UnusableServerName.swift. A client without a name, or with one that nothing is known for, gets the default.

import CGnuTLS

/// The server name that the client requested, in lower case; nil if it is missing or not a DNS name.
func requestedName(_ session: gnutls_session_t) -> String? {
  var octets = [UInt8](repeating: 0, count: 256)
  var length = octets.count
  var kind: UInt32 = 0
  guard gnutls_server_name_get(session, &octets, &length, &kind, 0) >= 0, length <= octets.count else { return nil }
  let name = String(decoding: octets.prefix(length), as: UTF8.self)
  return isDNSName(name) ? name.lowercased() : nil
}

/// True for a DNS name, and for one with `*` as its first label, which stands for one label of any name below the rest.
/// The rest has at least two labels: `*.example` would cover all domains of a registry.
package func isServerName(_ name: some StringProtocol) -> Bool {
  guard name.hasPrefix("*.") else { return isDNSName(name) }
  let rest = name.dropFirst(2)
  return rest.contains(".") && isDNSName(rest)
}

/// Which certificates are served for which name.
struct ServerNames {
  /// For clients without a known name.
  let fallback: CertificateSet
  /// The sets of names that were given with the certificates. They count before the names in the certificates.
  private var given: [String: CertificateSet] = [:]
  /// The sets of the names in the certificates.
  private var own: [String: CertificateSet] = [:]

  /// True if the client's name makes a difference.
  var isUsed: Bool { !given.isEmpty || !own.isEmpty }

  /// - Parameters:
  ///   - defaults: for a client without a known name.
  ///   - others: only for the names in them.
  ///   - given: by name; what the certificates contain does not matter.
  ///   - make: creates a set.
  init(
    defaults: [LoadedPair], others: [LoadedPair], given: [String: [LoadedPair]],
    make: ([LoadedPair]) throws(TLSCredentialsError) -> CertificateSet
  ) throws(TLSCredentialsError) {
    fallback = try make(defaults)
    for (name, pairs) in given { self.given[name] = try make(pairs) }
    // With one certificate there is no choice.
    guard defaults.count + others.count > 1 else { return }
    var pairs: [String: [LoadedPair]] = [:]
    for pair in defaults + others {
      for name in Set(pair.names) { pairs[name, default: []].append(pair) }
    }
    var sets: [[ObjectIdentifier]: CertificateSet] = [defaults.map(ObjectIdentifier.init): fallback]
    for (name, exact) in pairs {
      // A client that can use none of them gets another one: for mail any certificate is better than none.
      var chosen = exact
      for more in [ServerNames.wildcard(for: name).flatMap { pairs[$0] } ?? [], defaults] {
        chosen += more.filter { new in !chosen.contains { $0 === new } }
      }
      let key = chosen.map(ObjectIdentifier.init)
      if sets[key] == nil { sets[key] = try make(chosen) }
      own[name] = sets[key]
    }
  }

  /// The certificates for a name in lower case; nil if there are none.
  func certificates(for name: String?) -> CertificateSet? {
    if let name {
      let wildcard = ServerNames.wildcard(for: name)
      for sets in [given, own] {
        if let set = sets[name] ?? wildcard.flatMap({ sets[$0] }) { return set }
      }
    }
    return fallback.isEmpty ? nil : fallback
  }

  /// The name with `*` in place of its first label; nil if it has fewer than three labels.
  private static func wildcard(for name: String) -> String? {
    let rest = name.drop { $0 != "." }
    return rest.dropFirst().contains(".") ? "*\(rest)" : nil
  }
}

extension GnuTLSStream {
  /// Chooses the certificates by the client's server name. The credentials must outlive the session.
  static func chooseByName(_ session: gnutls_session_t, _ credentials: TLSCredentials) {
    gnutls_session_set_ptr(session, Unmanaged.passUnretained(credentials).toOpaque())
    gnutls_handshake_set_post_client_hello_function(session) { session in
      guard let session, let context = gnutls_session_get_ptr(session) else { return GNUTLS_E_INTERNAL_ERROR }
      let credentials = Unmanaged<TLSCredentials>.fromOpaque(context).takeUnretainedValue()
      guard let chosen = credentials.names.certificates(for: requestedName(session)) else { return GNUTLS_E_UNRECOGNIZED_NAME }
      return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(chosen.certificates))
    }
  }
}
