// AccessRulesTests: rules as text and as the real tcprules compiles them, looked up as the real tcpserver does.

import ClientAccess
import Foundation
import Transport
import XCTest

final class AccessRulesTests: StarttlsdTestCase {
  private func rules(_ text: String, isReserved: @escaping (Substring) -> Bool = { _ in false }) throws -> AccessRules {
    try AccessRules(Array(text.utf8), name: "rules", isReserved: isReserved)
  }

  /// What a rule says: `deny`, `allow` and variables, or `none`.
  private func answer(_ rules: AccessRules, _ host: String) throws -> String {
    let client = try SocketAddress(parsing: host.contains(":") ? "[\(host)]:1" : "\(host):1")
    guard let rule = rules.rule(for: client) else { return "none" }
    return ([rule.isAllowed ? "allow" : "deny"] + rule.variables).joined(separator: " ")
  }

  private let example = """
    # as in tcprules(1)
    joe@127.0.0.1:allow,WHO="joe"
    18.23.0.32:deny
    127.:allow,RELAYCLIENT="",TCPLOCALHOST="movie.edu"
    1.2.3.37-53:allow,RANGE="a:b"
    10.2-3.:allow,RELAYCLIENT=/@fix.me/
    10.3.1.:deny
    =.example.com:deny
    192.0.2.1:allow,FIRST="1"
    192.0.2.1:deny
    :allow,OTHER="x"

    """
  private let hosts = [
    "18.23.0.32", "18.23.0.3", "18.23.0.33", "127.0.0.1", "127.9.9.9", "1.2.3.36", "1.2.3.37", "1.2.3.53", "1.2.3.54", "10.2.9.9",
    "10.3.0.1", "10.3.1.1", "10.4.0.1", "192.0.2.1", "12.7.0.0", "0.0.0.0", "255.255.255.255",
  ]

  /// The text, the cdb file that the real tcprules makes of it, and what the real tcprulescheck says.
  func testTextAndDatabaseSayTheSameAsTcprulescheck() throws {
    let folder = TestFolder()
    let path = folder.path + "/rules.cdb"
    try run(["tcprules", path, folder.path + "/rules.tmp"], input: example)
    let compiled = try AccessFile(path: path).load { _ in false }
    let text = try rules(example)
    XCTAssertEqual(compiled.count, text.count)
    XCTAssertEqual(compiled.unused?.count, 2)
    XCTAssertEqual(text.unused?.first, "joe@127.0.0.1")
    for host in hosts {
      let checked = try run(["tcprulescheck", path], environment: ["TCPREMOTEIP": host]).output
      var expected: [String] = [checked.contains("deny connection") ? "deny" : "allow"]
      for line in checked.split(separator: "\n") where line.hasPrefix("set environment variable ") {
        expected.append(String(line.dropFirst("set environment variable ".count)))
      }
      XCTAssertEqual(try answer(compiled, host), expected.joined(separator: " "), host)
      XCTAssertEqual(try answer(text, host), expected.joined(separator: " "), host)
    }
  }

  func testWithoutARuleAClientIsAllowed() throws {
    XCTAssertEqual(try answer(try rules("127.0.0.2:deny\n"), "127.0.0.1"), "none")
    XCTAssertEqual(try answer(try rules(""), "127.0.0.1"), "none")
  }

  /// In the order of ucspi-tcp6: address, prefixes of the text, networks, everything.
  func testNetworksInCIDRNotation() throws {
    let rules = try rules(
      """
      192.0.2.0/24:allow,N="24"
      192.0.2.128/25:allow,N="25"
      192.0.2.129:allow,N="one"
      192.0.0.0/16:allow,N="16"
      198.51.:allow,N="prefix"
      198.51.100.0/24:allow,N="network"
      2001:db8::/32:allow,N="v6"
      2001:db8:1::/48:deny
      ::ffff:203.0.113.0/120:allow,N="mapped"
      :deny
      """)
    for (host, expected) in [
      ("192.0.2.1", "allow N=24"), ("192.0.2.128", "allow N=25"), ("192.0.2.129", "allow N=one"), ("192.0.3.1", "allow N=16"),
      ("198.51.100.1", "allow N=prefix"), ("2001:db8::1", "allow N=v6"), ("2001:db8:1:2::3", "deny"), ("2001:db9::1", "deny"),
      ("::ffff:192.0.2.129", "allow N=one"), ("203.0.113.5", "allow N=mapped"), ("10.0.0.1", "deny"),
    ] {
      XCTAssertEqual(try answer(rules, host), expected, host)
    }
  }

  /// Debian's ucspi-tcp-ipv6 compares the text of the address, ucspi-tcp6 writes addresses in full and networks as bits.
  func testIPv6AsBothIPv6VersionsOfTcprulesWriteIt() throws {
    let text = try rules("2001:db8::1:allow,N=\"one\"\n2001:db8::allow,N=\"prefix\"\n::1:allow,N=\"loopback\"\n:deny\n")
    XCTAssertEqual(try answer(text, "2001:db8::1"), "allow N=one")
    XCTAssertEqual(try answer(text, "2001:db8::2"), "allow N=prefix")
    XCTAssertEqual(try answer(text, "::1"), "allow N=loopback")
    let bits = "^" + "0010000000000001" + "0000110110111000"
    let other = try rules("2001:0db8:0000:0000:0000:0000:0000:0001:allow,N=\"one\"\n\(bits):allow,N=\"bits\"\n_11000000:allow,N=\"192/8\"\n")
    XCTAssertEqual(try answer(other, "2001:db8::1"), "allow N=one")
    XCTAssertEqual(try answer(other, "2001:db8:7::1"), "allow N=bits")
    XCTAssertEqual(try answer(other, "192.0.2.1"), "allow N=192/8")
    XCTAssertEqual(try answer(other, "193.0.2.1"), "none")
  }

  /// Each with the number of its line.
  func testTextWithErrors() {
    for (line, expected) in [
      ("192.0.2.1", "expected an address"), ("192.0.2.1:alow", "expected an address"), ("1.2.3.4:allowed", "expected ','"),
      ("1.2.3.4:allow,X", "no '='"), ("1.2.3.4:allow,X=", "not quoted"), ("1.2.3.4:allow,X=\"a", "not quoted"),
      ("1.2.3.4:allow,=\"a\"", "no name"), ("1.2.3.4:deny,X=\"a\"x", "expected ','"), ("1.2.3.0/33:deny", "prefix length"),
      ("1.2.3.1/24:deny", "bits are set"), ("10.9-3.:deny", "range"), ("10.1-256.:deny", "range"), ("10.-:deny", "range"),
      ("192.0.2:deny", "'192.0.2' is no address"), ("2001:db8:0:1:deny", "no prefix that ends with"),
      ("2001:DB8::deny", "is no address"), ("example.com.:deny", "is no address"), ("fe80::1%lo:deny", "is no address"),
      ("1.2.3.256:deny", "is no address"), ("1.2.3.04:deny", "is no address"), ("1..3.4:deny", "is no address"),
      ("1.2.3.4.5:deny", "is no address"),
      // Prefixes of no address as the system writes it.
      ("127.00.:deny", "is no address"), ("256.:deny", "is no address"), ("1.2.3.4.:deny", "is no address"),
      ("::ffff:127.0.0.:deny", "is no address"), ("2001:0db8::deny", "is no address"),
      ("1.2.3.4:allow,SSL_PROTOCOL=\"TLSv1.3\"", "SSL_PROTOCOL cannot be set"),
    ] {
      XCTAssertThrowsError(try rules("# first\n\n\(line)\n:allow\n") { $0.hasPrefix("SSL_") }, line) { error in
        XCTAssertTrue("\(error)".hasPrefix("rules, line 3: "), "\(error)")
        XCTAssertTrue("\(error)".contains(expected), "\(line): \(error)")
      }
    }
  }

  /// In a cdb file of tcprules such rules are counted, because tcprules itself accepts them.
  func testRulesThatMatchNoClientAreCounted() throws {
    let folder = TestFolder()
    let path = folder.path + "/rules.cdb"
    try run(["tcprules", path, folder.path + "/rules.tmp"], input: "127.0.0.:deny\n192.0.2:deny\n=:allow\na@1.2.3.4:deny\n")
    let rules = try AccessFile(path: path).load { _ in false }
    XCTAssertEqual(rules.count, 4)
    XCTAssertEqual(rules.unused?.count, 3)
    XCTAssertEqual(rules.unused?.first, "192.0.2")
    XCTAssertEqual(try answer(rules, "127.0.0.1"), "deny")
  }

  // MARK: Hostile files

  private func compiled() throws -> [UInt8] {
    let folder = TestFolder()
    try run(["tcprules", folder.path + "/rules.cdb", folder.path + "/rules.tmp"], input: example)
    return folder.contents("rules.cdb")
  }

  /// Cut at any octet.
  func testADatabaseThatIsCutIsRefused() throws {
    let complete = try compiled()
    XCTAssertGreaterThan(complete.count, 2300)
    for count in 1..<complete.count {
      XCTAssertThrowsError(try AccessRules(Array(complete[..<count]), name: "rules") { _ in false }, "\(count)")
    }
  }

  /// Any octet changed, and random octets: rules or an error, always, in linear time.
  func testADamagedDatabaseIsReadOrRefused() throws {
    let complete = try compiled()
    var state: UInt64 = 11
    func random() -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33)
    }
    var refused = 0
    for round in 0..<2_000 {
      var octets = complete
      let changes = 1 + round % 4
      for _ in 0..<changes { octets[random() % octets.count] = [0, 1, 8, 0x7F, 0x80, 0xFF][random() % 6] }
      do {
        _ = try AccessRules(octets, name: "rules") { _ in false }.rule(for: .loopback(port: 1))
      } catch {
        refused += 1
      }
    }
    XCTAssertGreaterThan(refused, 100)
    for size in [0, 1, 2047, 2048, 2049, 5000] {
      for octet: UInt8 in [0, 0xFF] {
        _ = try? AccessRules(Array(repeating: octet, count: size), name: "rules") { _ in false }
      }
    }
    // A record's length that would pass the end of the numbers.
    var octets = complete
    for place in 2048..<2056 { octets[place] = 0xFF }
    XCTAssertThrowsError(try AccessRules(octets, name: "rules") { _ in false }) {
      XCTAssertTrue("\($0)".contains("the record at octet 2048"), "\($0)")
    }
  }

  func testFilesThatCannotBeRead() throws {
    let folder = TestFolder()
    XCTAssertThrowsError(try AccessFile(path: folder.path + "/none").load { _ in false }) {
      XCTAssertTrue("\($0)".hasSuffix("/none: open: No such file or directory"), "\($0)")
    }
    XCTAssertThrowsError(try AccessFile(path: folder.path).load { _ in false })
    XCTAssertEqual(mkfifo(folder.path + "/fifo", 0o600), 0)
    XCTAssertThrowsError(try AccessFile(path: folder.path + "/fifo").load { _ in false })
    let large = folder.path + "/large"
    try Data().write(to: URL(fileURLWithPath: large))
    XCTAssertEqual(truncate(large, off_t(AccessFile.sizeLimit) + 1), 0)
    XCTAssertThrowsError(try AccessFile(path: large).load { _ in false }) {
      XCTAssertTrue("\($0)".contains("has more than 16777215 octets"), "\($0)")
    }
  }
}
