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

  /// - Parameter sets: one for each list of the plan.
  init(_ plan: ServerNamePlan, _ sets: [CertificateSet]) {
    fallback = sets[0]
    given = plan.given.mapValues { sets[$0] }
    own = plan.own.mapValues { sets[$0] }
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
  fileprivate static func wildcard(for name: String) -> String? {
    let rest = name.drop { $0 != "." }
    return rest.dropFirst().contains(".") ? "*\(rest)" : nil
  }
}

/// The sets of certificates that are needed.
struct ServerNamePlan {
  /// The certificates of each set, in the order of preference. The first set is for clients without a known name.
  private(set) var lists: [[LoadedPair]]
  /// The numbers of the sets by name, see `ServerNames`.
  private(set) var given: [String: Int] = [:]
  private(set) var own: [String: Int] = [:]

  /// - Parameters:
  ///   - defaults: for a client without a known name.
  ///   - others: only for the names in them.
  ///   - given: by name; what the certificates contain does not matter.
  init(defaults: [LoadedPair], others: [LoadedPair], given: [String: [LoadedPair]]) {
    lists = [defaults]
    for (name, pairs) in given {
      self.given[name] = lists.count
      lists.append(pairs)
    }
    // With one certificate there is no choice.
    guard defaults.count + others.count > 1 else { return }
    var pairs: [String: [LoadedPair]] = [:]
    for pair in defaults + others {
      for name in Set(pair.names) { pairs[name, default: []].append(pair) }
    }
    var numbers: [[ObjectIdentifier]: Int] = [defaults.map(ObjectIdentifier.init): 0]
    for (name, exact) in pairs {
      // A client that can use none of them gets another one: for mail any certificate is better than none.
      var chosen = exact
      for more in [ServerNames.wildcard(for: name).flatMap { pairs[$0] } ?? [], defaults] {
        chosen += more.filter { new in !chosen.contains { $0 === new } }
      }
      let key = chosen.map(ObjectIdentifier.init)
      own[name] = numbers[key, default: lists.count]
      guard numbers[key] == nil else { continue }
      numbers[key] = lists.count
      lists.append(chosen)
    }
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
