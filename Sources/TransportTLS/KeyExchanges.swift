// KeyExchanges: which key exchanges a client can have with the priorities, and which are removed from them.
//
// The library chooses a cipher suite before it finds that its key exchange cannot work: without a group for DHE-RSA, or with
// an RSA key that only signs. The handshake then fails, even for a client that has other suites. So such an exchange is removed
// at the start, and a client without any other gets handshake_failure.

import CGnuTLS

extension TLSPriorities {
  /// The groups that a session can have. A string may name ffdhe2048, which the credentials exclude.
  static func usableGroups(_ parsed: gnutls_priority_t) -> [gnutls_group_t] {
    groups(parsed).filter { $0 != GNUTLS_GROUP_FFDHE2048 }
  }

  /// The key exchanges of the cipher suites that a client can have, each once. GNUTLS_KX_UNKNOWN is that of TLS 1.3.
  static func exchanges(_ parsed: gnutls_priority_t) -> [gnutls_kx_algorithm_t] {
    let groups = usableGroups(parsed)
    var found: [gnutls_kx_algorithm_t] = []
    var index: UInt32 = 0
    while true {
      var suite: UInt32 = 0
      let code = gnutls_priority_get_cipher_suite_index(parsed, index, &suite)
      index += 1
      if code >= 0 {
        var kind = GNUTLS_KX_UNKNOWN
        gnutls_cipher_suite_info(Int(suite), nil, &kind, nil, nil, nil)
        if !found.contains(kind), isPossible(kind, groups) { found.append(kind) }
      } else if code != GNUTLS_E_UNKNOWN_CIPHER_SUITE {
        // The library skips indexes of suites that a session would not have.
        return found
      }
    }
  }

  /// True if the exchange needs a certificate only, and a group for it is there. There are no credentials for PSK and SRP.
  private static func isPossible(_ kind: gnutls_kx_algorithm_t, _ groups: [gnutls_group_t]) -> Bool {
    switch kind {
    case GNUTLS_KX_UNKNOWN: !groups.isEmpty
    case GNUTLS_KX_ECDHE_RSA, GNUTLS_KX_ECDHE_ECDSA: groups.contains { !isFiniteField($0) }
    case GNUTLS_KX_DHE_RSA, GNUTLS_KX_DHE_DSS: groups.contains(where: isFiniteField)
    default: decrypts(kind)
    }
  }

  private static func isFiniteField(_ group: gnutls_group_t) -> Bool {
    [GNUTLS_GROUP_FFDHE3072, GNUTLS_GROUP_FFDHE4096, GNUTLS_GROUP_FFDHE6144, GNUTLS_GROUP_FFDHE8192].contains(group)
  }

  /// True if the server's key has to decrypt.
  static func decrypts(_ kind: gnutls_kx_algorithm_t) -> Bool { kind == GNUTLS_KX_RSA }

  /// The names of the exchanges that are to be removed.
  ///
  /// - Parameter possible: those that a client can have, see `exchanges`.
  static func removable(
    _ parsed: gnutls_priority_t, possible: [gnutls_kx_algorithm_t], keyOnlySigns: Bool
  ) -> [String] {
    let kinds = list(parsed, gnutls_priority_kx_list)
    var names: [String] = []
    if !usableGroups(parsed).contains(where: isFiniteField) {
      if kinds.contains(GNUTLS_KX_DHE_RSA.rawValue) { names.append("DHE-RSA") }
      if kinds.contains(GNUTLS_KX_DHE_DSS.rawValue) { names.append("DHE-DSS") }
    }
    if keyOnlySigns, possible.contains(where: decrypts), !possible.allSatisfy(decrypts) { names.append("RSA") }
    return names
  }
}
