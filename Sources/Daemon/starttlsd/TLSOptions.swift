// TLSOptions: the options for what TLS accepts: protocol versions, cipher suites and groups.

import ArgumentParser
import SMTPState
import Transport
import TransportTLS

struct TLSOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "modern: TLS 1.2 and 1.3, AEAD and forward secrecy only; compatible: also CBC ciphers and DHE-RSA; or priority= and a GnuTLS priority string [with --policy required modern, else compatible].",
      valueName: "profile"))
  var tlsProfile: String?

  @Option(help: ArgumentHelp("Groups of the key exchange, separated by commas; the first is preferred.", valueName: "names"))
  var tlsGroups: String?

  /// The checked priorities.
  ///
  /// - Parameters:
  ///   - security: decides the default. With opportunistic TLS a client that fails sends its mail in clear.
  ///   - hasKeyInProcess: false if the process of the keys, which only signs, holds them.
  func priorities(_ security: SMTPSession.Policy.Security, hasKeyInProcess: Bool) throws(ConfigurationError) -> TLSPriorities {
    var profile = security == .required ? TLSProfile.modern : .compatible
    if let tlsProfile {
      guard let named = TLSProfile(tlsProfile) else {
        throw .usage("--tls-profile \(tlsProfile): give modern, compatible, or priority= and a GnuTLS priority string")
      }
      profile = named
    }
    let groups = tlsGroups?.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
    let priorities: TLSPriorities
    do throws(TLSCredentialsError) {
      priorities = try TLSPriorities(profile, groups: groups, keyOnlySigns: !hasKeyInProcess)
    } catch {
      throw .usage("\(groups == nil ? "--tls-profile" : "--tls-profile and --tls-groups"): \(error)")
    }
    guard hasKeyInProcess || !priorities.needsDecryption else {
      throw .usage(
        "--tls-profile: only the RSA key exchange is allowed, and the process that holds the keys only signs: allow ECDHE-RSA as well, or use --key-in-process")
    }
    return priorities
  }
}

extension TLSPriorities {
  /// For the operator: `TLS profile modern, groups x25519 secp256r1`.
  var summary: String { "TLS profile \(profile), groups \(groups.isEmpty ? "none" : groups.joined(separator: " "))" }

  /// What the operator should know about the profile, if anything.
  var warning: String? {
    isRSAKeyExchangeRemoved
      ? "--tls-profile: the RSA key exchange is left out, because the process that holds the keys only signs: add :-RSA, or use --key-in-process" : nil
  }
}
