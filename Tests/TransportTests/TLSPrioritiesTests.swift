// What each profile allows, read from the library's own lists, and which strings are refused at the start.

@testable import TransportKit
import CGnuTLS
import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class TLSPrioritiesTests: XCTestCase {
  private func refusal(_ text: String, groups: [String]? = nil) -> TLSCredentialsError? {
    do {
      _ = try TLSPriorities(.priority(text), groups: groups)
      return nil
    } catch {
      return error
    }
  }

  private func names(
    _ priorities: TLSPriorities, _ lister: (gnutls_priority_t, UnsafeMutablePointer<UnsafePointer<UInt32>?>) -> CInt,
    _ name: (UInt32) -> UnsafePointer<CChar>?
  ) -> [String] {
    var first: UnsafePointer<UInt32>?
    let count = lister(priorities.parsed, &first)
    return UnsafeBufferPointer(start: first, count: max(0, Int(count))).map { name($0).map { String(cString: $0) } ?? "?" }
  }

  /// The names of all cipher suites.
  private func suites(_ priorities: TLSPriorities) -> [String] {
    var names: [String] = []
    var index: UInt32 = 0
    while true {
      var suite: UInt32 = 0
      let code = gnutls_priority_get_cipher_suite_index(priorities.parsed, index, &suite)
      if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return names }
      if code >= 0, let name = gnutls_cipher_suite_info(Int(suite), nil, nil, nil, nil, nil) { names.append(String(cString: name)) }
      index += 1
    }
  }

  private func versions(_ priorities: TLSPriorities) -> [String] {
    names(priorities, gnutls_priority_protocol_list) { gnutls_protocol_get_name(gnutls_protocol_t($0)) }
  }

  private func signatures(_ priorities: TLSPriorities) -> [String] {
    names(priorities, gnutls_priority_sign_list) { gnutls_sign_get_name(gnutls_sign_algorithm_t($0)) }
  }

  private let aead = [
    "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_CHACHA20_POLY1305", "TLS_ECDHE_RSA_AES_128_GCM_SHA256",
  ]

  func testModernHasAEADOnly() throws {
    let modern = try TLSPriorities(.modern)
    XCTAssertEqual(suites(modern), aead)
    XCTAssertEqual(versions(modern), ["TLS1.3", "TLS1.2"])
  }

  func testCompatibleAddsCBCAndDHE() throws {
    let compatible = try TLSPriorities(.compatible)
    let names = suites(compatible)
    XCTAssertEqual(versions(compatible), ["TLS1.3", "TLS1.2"])
    XCTAssertTrue(Set(aead).isSubset(of: names))
    for name in names where !aead.contains(name) {
      let isDHE = name.hasPrefix("TLS_DHE_RSA_")
      XCTAssertTrue(isDHE || name.hasPrefix("TLS_ECDHE_") && name.contains("_CBC_"), name)
      XCTAssertTrue(name.contains("_AES_") || name.contains("_CHACHA20_"), name)
    }
    for name in ["TLS_ECDHE_RSA_AES_256_CBC_SHA384", "TLS_ECDHE_RSA_AES_128_CBC_SHA1", "TLS_DHE_RSA_AES_256_GCM_SHA384"] {
      XCTAssertTrue(names.contains(name), name)
    }
    // For each key exchange all of the AEAD ciphers come first: the server's order decides.
    for exchange in ["TLS_ECDHE_ECDSA_", "TLS_ECDHE_RSA_", "TLS_DHE_RSA_"] {
      let own = names.filter { $0.hasPrefix(exchange) }
      let firstCBC = try XCTUnwrap(own.firstIndex { $0.contains("_CBC_") })
      XCTAssertFalse(own[firstCBC...].contains { !$0.contains("_CBC_") }, "\(own)")
    }
  }

  func testNoProfileSignsWithSHA1OrLess() throws {
    for profile in [TLSProfile.modern, .compatible] {
      let names = try signatures(TLSPriorities(profile))
      XCTAssertTrue(names.contains("RSA-SHA256"))
      for name in names { XCTAssertFalse(["SHA1", "MD5", "DSA-SHA", "SHA224"].contains { name.hasSuffix($0) || name.hasPrefix("DSA") }, name) }
    }
  }

  /// Hybrid groups come first if the library has them; a library without them gets a string without them.
  func testHybridGroupsComeFirstOrAreLeftOut() throws {
    let hybrids = ["X25519MLKEM768", "SecP256R1MLKEM768"]
    let library = ["X25519-MLKEM768", "SECP256R1-MLKEM768"]
    let present = zip(hybrids, library).filter { gnutls_group_get_id($0.1) != GNUTLS_GROUP_INVALID }.map(\.0)
    let modern = present + ["x25519", "secp256r1", "secp384r1", "secp521r1", "x448"]
    XCTAssertEqual(try TLSPriorities(.modern).groups, modern)
    XCTAssertEqual(try TLSPriorities(.compatible).groups, modern + ["ffdhe3072"])
    let known = modern + ["ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192"]
    for name in hybrids {
      let outcome = Result { try TLSPriorities(.modern, groups: [name, "x25519"]).groups }
      if present.contains(name) {
        XCTAssertEqual(try outcome.get(), [name, "x25519"])
      } else {
        XCTAssertThrowsError(try outcome.get()) {
          XCTAssertEqual($0 as? TLSCredentialsError, .unknownGroup(name, known: known))
        }
      }
    }
  }

  /// A handshake with each hybrid group that the library has; where it has none, a client that offers nothing else but the
  /// profile's first group gets that.
  func testAHandshakeWithTheFirstGroup() throws {
    for profile in [TLSProfile.modern, .compatible] {
      let priorities = try TLSPriorities(profile)
      for name in priorities.groups.prefix(while: { $0.contains("MLKEM") }) + ["x25519"] {
        let group = try XCTUnwrap(TLSGroup(name))
        try withFolder { folder in
          let ends = try Kernel.socketPair()
          let end = FarEnd(socket: ends.1)
          // A key of a hybrid group does not fit into one segment.
          end.cut = 1_400
          let stream = try GnuTLSStream(try selfSigned(folder), priorities)
          stream.attach(Descriptor(adopting: ends.0))
          let tunnel = TLSTunnel(end, priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-\(group.libraryName)")
          for _ in 0..<100 where !(stream.handshake() == .established && tunnel.isEstablished) { while end.step() || tunnel.step() {} }
          XCTAssertTrue(tunnel.isEstablished, tunnel.failure ?? "")
          XCTAssertEqual(stream.facts.group, name, "\(profile)")
          tunnel.say(octets("NOOP\r\n"))
          while end.step() {}
          var buffer = [UInt8](repeating: 0, count: 100)
          XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .moved(6))
        }
      }
    }
  }

  func testGroupsThatAreChosen() throws {
    XCTAssertEqual(try TLSPriorities(.modern, groups: ["SECP384R1", "X25519", "x25519"]).groups, ["secp384r1", "x25519"])
    let text = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
    XCTAssertEqual(try TLSPriorities(.priority(text), groups: ["x448"]).groups, ["x448"])
    let all = try TLSPriorities(.priority(text)).groups
    XCTAssertTrue(all.contains("x25519") && all.contains("ffdhe8192") && !all.contains("ffdhe2048"), "\(all)")
    for name in ["", "ffdhe2048", "x25519:+ANON", "GROUP-X25519", "\u{0}"] {
      guard case .unknownGroup(name, _) = refusal(text, groups: ["x25519", name]) else { return XCTFail(name) }
    }
  }

  func testStringsThatAreRefused() throws {
    let text = "NORMAL:+NONSENSE"
    XCTAssertEqual(refusal(text), .badPriorities(text, at: "+NONSENSE"))
    XCTAssertEqual(
      refusal(text)?.description,
      "priorities 'NORMAL:+NONSENSE': not understood at octet 8, from '+NONSENSE' on: see gnutls priority strings")
    for text in ["", "NONE", "NONE:+VERS-TLS1.3", "NONE:+VERS-TLS1.2:+AES-256-GCM:+AEAD:+COMP-NULL"] {
      XCTAssertEqual(refusal(text), .badPriorities(text, at: ""), text)
    }
    let base = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
    for (text, name) in [
      ("NORMAL:+VERS-TLS1.1", "TLS1.1"), ("NORMAL:-VERS-ALL:+VERS-TLS1.0:+VERS-TLS1.2", "TLS1.0"),
      ("\(base):+ANON-DH", "ANON-DH"), ("\(base):+ANON-ECDH", "ANON-ECDH"), ("\(base):+NULL", "NULL"),
    ] {
      XCTAssertEqual(refusal(text), .weakPriorities(text, name))
      XCTAssertTrue(refusal(text)?.description.contains("allow \(name):") == true)
    }
    XCTAssertNil(refusal(base))
    XCTAssertNil(refusal("SECURE256:-VERS-ALL:+VERS-TLS1.3"))
  }

  func testTheNamesOfProfiles() {
    for profile in [TLSProfile.modern, .compatible, .priority("NORMAL:%COMPAT"), .priority("")] {
      XCTAssertEqual(TLSProfile(profile.description), profile)
    }
    for text in ["", "Modern", "priority", "NORMAL", "modern "] { XCTAssertNil(TLSProfile(text), text) }
  }
}
