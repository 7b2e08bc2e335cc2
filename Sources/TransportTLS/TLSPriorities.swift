// TLSPriorities: a profile in the form of the library, checked once for all sessions.
//
// A profile names everything that it allows, from `NONE` on: what a later library adds to its own defaults is not added
// here. The exception are hybrid groups, which the library at hand may have or not; a profile has those that it can have.
//
// modern follows the order of the client: each cipher is as good as the others, and a server that insists on its first
// group costs a client that sent a key for another one a second round trip. compatible follows its own order, so that
// a client gets a CBC cipher only if it has no AEAD cipher for the same key exchange.
//
// Failure: a TLSCredentialsError. A string is refused at the start, never used in part.

import CGnuTLS
public import Transport

/// The protocol versions, cipher suites and groups of a TLS server.
public final class TLSPriorities: @unchecked Sendable {
  // Unchecked: the pointer never changes, and the library only reads its object.

  /// The profile.
  public let profile: TLSProfile
  /// The priority string in force.
  public let text: String
  /// The registered names of the groups in force, in the order of the string.
  public let groups: [String]
  /// True if the profile has RSA key exchange, which was removed because the key only signs.
  package let isRSAKeyExchangeRemoved: Bool
  let parsed: gnutls_priority_t

  /// Parses and checks a profile.
  ///
  /// - Parameters:
  ///   - profile: the profile.
  ///   - groups: the names of groups that replace those of the profile, in the order of preference; nil for the profile's
  ///     own. A group that the library does not have is an error.
  public convenience init(_ profile: TLSProfile, groups: [String]? = nil) throws(TLSCredentialsError) {
    try self.init(profile, groups: groups, keyOnlySigns: false)
  }

  /// The same.
  ///
  /// - Parameter keyOnlySigns: true if the key cannot decrypt: then RSA key exchange is removed. If nothing else is allowed, it
  ///   stays, and `needsDecryption` is true.
  package init(_ profile: TLSProfile, groups: [String]?, keyOnlySigns: Bool) throws(TLSCredentialsError) {
    let chosen = try groups.map(TLSPriorities.checked)
    var (text, parsed) = try TLSPriorities.parse(profile, chosen)
    do {
      let possible = TLSPriorities.exchanges(parsed)
      try TLSPriorities.check(parsed, text, possible)
      let kinds = TLSPriorities.removable(parsed, possible: possible, keyOnlySigns: keyOnlySigns)
      isRSAKeyExchangeRemoved = kinds.contains("RSA")
      if !kinds.isEmpty {
        let smaller = try TLSPriorities.parsed(kinds.reduce(text) { "\($0):-\($1)" })
        gnutls_priority_deinit(parsed)
        (text, parsed) = smaller
      }
    } catch {
      gnutls_priority_deinit(parsed)
      throw error
    }
    self.profile = profile
    self.text = text
    self.groups = TLSPriorities.usableGroups(parsed).compactMap(TLSGroup.name)
    self.parsed = parsed
  }

  deinit { gnutls_priority_deinit(parsed) }

  /// True if no client can have a session with a key that only signs: each one would have to encrypt for it.
  package var needsDecryption: Bool { TLSPriorities.exchanges(parsed).allSatisfy(TLSPriorities.decrypts) }

  // MARK: - The profiles

  /// The profile for a session without any.
  static let modern = Result { () throws(TLSCredentialsError) in try TLSPriorities(.modern) }

  /// Forward secrecy, AEAD, no SHA-1 in signatures, TLS 1.2 and later.
  private static let modernText =
    "NONE:+VERS-TLS1.3:+VERS-TLS1.2:+CTYPE-X509:+COMP-NULL:+ECDHE-ECDSA:+ECDHE-RSA:+AES-256-GCM:+CHACHA20-POLY1305"
    + ":+AES-128-GCM:+AEAD:+SIGN-ALL:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1"

  /// The suites of modern in each of the key exchanges come first.
  private static let compatibleText =
    modernText + ":+DHE-RSA:+AES-256-CBC:+AES-128-CBC:+SHA384:+SHA256:+SHA1:%SERVER_PRECEDENCE"

  /// The string of a profile without groups.
  private static func base(_ profile: TLSProfile) -> String {
    switch profile {
    case .modern: modernText
    case .compatible: compatibleText
    case .priority(let text): text
    }
  }

  private static func adding(_ groups: [TLSGroup], to base: String) -> String {
    groups.reduce(base) { "\($0):+GROUP-\($1.libraryName)" }
  }

  private static func parse(
    _ profile: TLSProfile, _ groups: [TLSGroup]?
  ) throws(TLSCredentialsError) -> (String, gnutls_priority_t) {
    let base = base(profile)
    if let groups {
      if let absent = groups.first(where: { !has($0) }) {
        throw .unknownGroup(absent.rawValue, known: TLSGroup.allCases.filter(has).map(\.rawValue))
      }
      return try parsed(adding(groups, to: base + ":-GROUP-ALL"))
    }
    let own =
      switch profile {
      case .modern: TLSGroup.modern
      case .compatible: TLSGroup.compatible
      case .priority: [TLSGroup]()
      }
    return try parsed(adding(own.filter { !$0.isHybrid || has($0) }, to: base))
  }

  /// True if the library has the group and can use it. It may know the name and lack what the group needs.
  private static func has(_ group: TLSGroup) -> Bool {
    // A program for one session saves the parsing of a string for each name that the library does not know.
    guard gnutls_group_get_id(group.libraryName) != GNUTLS_GROUP_INVALID else { return false }
    guard let (_, parsed) = try? parsed(adding([group], to: modernText)) else { return false }
    defer { gnutls_priority_deinit(parsed) }
    return groups(parsed).contains { TLSGroup.name($0) == group.rawValue }
  }

  private static func checked(_ names: [String]) throws(TLSCredentialsError) -> [TLSGroup] {
    var groups: [TLSGroup] = []
    for name in names {
      guard let group = TLSGroup(name) else {
        throw .unknownGroup(name, known: TLSGroup.allCases.filter(has).map(\.rawValue))
      }
      if !groups.contains(group) { groups.append(group) }
    }
    return groups
  }

  private static func parsed(_ text: String) throws(TLSCredentialsError) -> (String, gnutls_priority_t) {
    var priorities: gnutls_priority_t?
    let rest: String? = text.withCString { start in
      var trouble: UnsafePointer<CChar>?
      let code = gnutls_priority_init(&priorities, start, &trouble)
      if code >= 0 { return nil }
      // A string that is correct but leaves nothing is reported from its start on.
      return code == GNUTLS_E_NO_PRIORITIES_WERE_SET ? "" : trouble.map { String(cString: $0) } ?? ""
    }
    if let rest { throw .badPriorities(text, at: rest) }
    guard let priorities else { throw .badPriorities(text, at: "") }
    return (text, priorities)
  }

  // MARK: - What a string must not allow

  /// Refuses what would make a session worthless, however the string came to allow it.
  private static func check(
    _ parsed: gnutls_priority_t, _ text: String, _ exchanges: [gnutls_kx_algorithm_t]
  ) throws(TLSCredentialsError) {
    // A name that the library adds later is not known here: only these two versions are allowed. DTLS is never used.
    let versions = list(parsed, gnutls_priority_protocol_list).filter { !isDatagram($0) }
    for version in versions where version != GNUTLS_TLS1_2.rawValue && version != GNUTLS_TLS1_3.rawValue {
      throw .weakPriorities(text, name(gnutls_protocol_get_name(gnutls_protocol_t(version))))
    }
    for kind in list(parsed, gnutls_priority_kx_list)
    where kind == GNUTLS_KX_ANON_DH.rawValue || kind == GNUTLS_KX_ANON_ECDH.rawValue {
      throw .weakPriorities(text, name(gnutls_kx_get_name(gnutls_kx_algorithm_t(kind))))
    }
    if list(parsed, gnutls_priority_cipher_list).contains(GNUTLS_CIPHER_NULL.rawValue) { throw .weakPriorities(text, "NULL") }
    if list(parsed, gnutls_priority_mac_list).contains(GNUTLS_MAC_NULL.rawValue) { throw .weakPriorities(text, "MAC-NULL") }
    guard !exchanges.isEmpty else { throw .badPriorities(text, at: "") }
  }

  private static func isDatagram(_ version: UInt32) -> Bool {
    (GNUTLS_DTLS_VERSION_MIN.rawValue...GNUTLS_DTLS_VERSION_MAX.rawValue).contains(version)
  }

  private static func name(_ text: UnsafePointer<CChar>?) -> String { text.map { String(cString: $0) } ?? "unknown" }

  typealias Lister = (gnutls_priority_t, UnsafeMutablePointer<UnsafePointer<UInt32>?>) -> CInt

  static func list(_ parsed: gnutls_priority_t, _ lister: Lister) -> [UInt32] {
    var first: UnsafePointer<UInt32>?
    let count = lister(parsed, &first)
    return Array(UnsafeBufferPointer(start: first, count: max(0, Int(count))))
  }

  static func groups(_ parsed: gnutls_priority_t) -> [gnutls_group_t] {
    list(parsed, gnutls_priority_group_list).map { gnutls_group_t(rawValue: $0) }
  }
}
