// TLSGroup: the groups of the key exchange and their names.
//
// The library has names of its own. Options, log and status use those of the IANA registry "TLS Supported Groups".

import CGnuTLS

/// A group that a profile can have.
enum TLSGroup: String, CaseIterable {
  // Hybrid groups: a session stays secret unless both parts are broken. The library has them from 3.8.8 on, if it was
  // built with a library for ML-KEM.
  case x25519MLKEM768 = "X25519MLKEM768"
  case secp256r1MLKEM768 = "SecP256R1MLKEM768"
  case x25519
  case secp256r1
  case secp384r1
  case secp521r1
  case x448
  // RFC 7919. ffdhe2048 is missing: less than 128 bits of security. With ffdhe8192 a handshake takes the server 400 ms, with
  // x25519 less than 1 ms: a client could keep it busy. No profile has more than ffdhe3072.
  case ffdhe3072
  case ffdhe4096
  case ffdhe6144
  case ffdhe8192

  /// Finds a group by its registered name, in upper or lower case.
  init?(_ name: String) {
    guard let found = TLSGroup.allCases.first(where: { $0.rawValue.lowercased() == name.lowercased() }) else { return nil }
    self = found
  }

  /// The library's name, as after `GROUP-` in a priority string.
  var libraryName: String {
    switch self {
    case .x25519MLKEM768: "X25519-MLKEM768"
    case .secp256r1MLKEM768: "SECP256R1-MLKEM768"
    case .x25519, .secp256r1, .secp384r1, .secp521r1, .x448, .ffdhe3072, .ffdhe4096, .ffdhe6144, .ffdhe8192:
      rawValue.uppercased()
    }
  }

  /// True if an older library may not have it.
  var isHybrid: Bool { self == .x25519MLKEM768 || self == .secp256r1MLKEM768 }

  /// The groups of a profile, the preferred one first.
  static let modern: [TLSGroup] = [.x25519MLKEM768, .secp256r1MLKEM768, .x25519, .secp256r1, .secp384r1, .secp521r1, .x448]
  /// DHE-RSA needs a group.
  static let compatible = modern + [.ffdhe3072]

  /// The registered name of one of the library's groups; nil if it is none.
  static func name(_ group: gnutls_group_t) -> String? {
    guard group != GNUTLS_GROUP_INVALID, let own = gnutls_group_get_name(group).map({ String(cString: $0) }) else { return nil }
    return allCases.first { $0.libraryName == own }?.rawValue ?? own.lowercased()
  }
}
