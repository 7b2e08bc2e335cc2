// RevocationListTests: a list is taken apart as the library does it, in a time that grows with its length.

import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class RevocationListTests: XCTestCase {
  /// An issuer in `ca.pem`, and lists with so many entries, which have reasons: `crl.pem` and `crl.der`.
  ///
  /// - Parameter key: the algorithm of the issuer's key; nil to keep the issuer.
  private func make(_ folder: String, entries: Int, key: String? = "ec -pkeyopt ec_paramgen_curve:P-256", signing: String = "") throws {
    let lines = (0..<entries).map { "R\t391231235959Z\t250101000000Z,keyCompromise\t\(String(0x1A_0000 + $0, radix: 16).uppercased())\tunknown\t/CN=x" }
    try write(lines.joined(separator: "\n") + "\n", to: "\(folder)/index")
    let script = """
      cd "$1" && printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\n[delta]\\ndeltaCRL=critical,ASN1:INTEGER:1\\n' >ca.conf &&
      \(key.map { "openssl req -x509 -nodes -newkey \($0) -days 30 -subj /CN=ca -keyout ca.key -out ca.pem" } ?? "true") &&
      openssl ca -config ca.conf -cert ca.pem -keyfile ca.key \(signing) -gencrl -crldays 30 -out crl.pem &&
      openssl crl -in crl.pem -outform DER -out crl.der
      """
    XCTAssertEqual(try runProgram(["sh", "-c", "(\(script)) >\"$1/output\" 2>&1", "sh", folder]), .exited(0))
  }

  private func write(_ text: String, to path: String) throws {
    let octets = Array(text.utf8)
    let file = Descriptor(adopting: try Kernel.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
    var rest = octets[...]
    while !rest.isEmpty { rest = rest.dropFirst(try rest.withUnsafeBytes { try Kernel.write(file.number, $0) }) }
  }

  private func lists(_ path: String) throws -> [[UInt8]] { try RevocationList.all(in: CredentialFile(path), path: path) }

  private func issuers(_ folder: String) throws -> TrustedIssuers {
    let issuers = TrustedIssuers()
    try issuers.add(CredentialFile("\(folder)/ca.pem"), path: "ca.pem")
    return issuers
  }

  /// The serial numbers of a list that is taken apart.
  private func serials(_ list: RevocationList) throws -> SerialNumbers {
    var serials = SerialNumbers()
    var entries = RevocationEntries(try XCTUnwrap(list.parts, "left to the library").entries)
    while !entries.isEmpty { XCTAssertTrue(entries.read(of: list.octets, atMost: 2, into: &serials)) }
    return serials
  }

  private static let pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:"
  /// A key that signs with RSA-PSS alone, with SHA-256 and at least 24 octets of salt.
  private static let bound =
    "rsa-pss -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256 -pkeyopt rsa_pss_keygen_saltlen:24"

  func testTheEntriesAndTheSignatureAreThoseOfTheList() throws {
    typealias Tests = RevocationListTests
    for (key, all) in [
      ("ec -pkeyopt ec_paramgen_curve:P-256", [""]), ("rsa:2048", ["", "\(Tests.pss)digest", "\(Tests.pss)20", "\(Tests.pss)max", "\(Tests.pss)0"]),
      (Tests.bound, ["\(Tests.pss)24", "\(Tests.pss)40"]),
    ] {
      try withFolder { folder in
        try make(folder, entries: 3, key: key, signing: all[0])
        let issuers = try issuers(folder)
        for signing in all {
          try make(folder, entries: 3, key: nil, signing: signing)
          let lists = try lists("\(folder)/crl.pem")
          XCTAssertEqual(lists, try self.lists("\(folder)/crl.der"))
          try checkEntriesAndSignature(lists[0], issuers, "\(key) \(signing)")
        }
      }
    }
  }

  private func checkEntriesAndSignature(_ octets: [UInt8], _ issuers: TrustedIssuers, _ what: String) throws {
    var code: CInt = 0
    let list = try XCTUnwrap(RevocationList.read(octets, &code))
    let serials = try serials(list)
    XCTAssertEqual(serials.count, 3, what)
    for last: UInt8 in 0..<4 { XCTAssertEqual(serials.contains([0x1A, 0, last]), last < 3, what) }
    XCTAssertTrue(issuers.haveSigned(list), what)
    // Another serial number, or another octet of the signature.
    let place = try XCTUnwrap((0..<octets.count - 3).first { Array(octets[$0..<$0 + 3]) == [0x1A, 0, 1] })
    for index in [place + 1, octets.count - 1] {
      var changed = octets
      changed[index] ^= 1
      XCTAssertFalse(RevocationList.read(changed, &code).map { issuers.haveSigned($0) } ?? false, "\(what) \(index)")
    }
  }

  /// RFC 5280, 4.2.1.3: one that may sign certificates only.
  func testAListOfAnIssuerThatMaySignNone() throws {
    for usage in ["keyCertSign", "keyCertSign,cRLSign"] {
      try withFolder { folder in
        try make(folder, entries: 1, key: "ec -pkeyopt ec_paramgen_curve:P-256 -addext keyUsage=critical,\(usage)")
        var code: CInt = 0
        let list = try XCTUnwrap(RevocationList.read(try lists("\(folder)/crl.pem")[0], &code))
        XCTAssertEqual(try issuers(folder).haveSigned(list), usage.contains("cRLSign"))
      }
    }
  }

  /// The library needs more than a minute for such a list.
  func testAListOfManyEntriesWithReasons() throws {
    for (key, signing) in [("ec -pkeyopt ec_paramgen_curve:P-256", ""), ("rsa:2048", "\(RevocationListTests.pss)20")] {
      try withFolder { folder in
        try make(folder, entries: 20_000, key: key, signing: signing)
        let issuers = try issuers(folder)
        let start = clock()
        var code: CInt = 0
        let list = try XCTUnwrap(RevocationList.read(try lists("\(folder)/crl.pem")[0], &code))
        XCTAssertEqual(try serials(list).count, 20_000)
        XCTAssertTrue(issuers.haveSigned(list))
        XCTAssertLessThan(Double(clock() - start) / Double(CLOCKS_PER_SEC), 5)
      }
    }
  }

  /// Total: no octets trap it, and no damage is a list that is signed.
  func testDamagedListsAreRefused() throws {
    try withFolder { folder in
      try make(folder, entries: 3)
      let issuers = try issuers(folder)
      let octets = try lists("\(folder)/crl.der")[0]
      var code: CInt = 0
      for length in stride(from: 0, to: octets.count, by: 5) {
        XCTAssertNil(RevocationList.read(Array(octets[..<length]), &code))
      }
      for index in octets.indices {
        var damaged = octets
        damaged[index] ^= 1
        XCTAssertFalse(RevocationList.read(damaged, &code).map { issuers.haveSigned($0) } ?? false, "\(index)")
      }
    }
  }

  /// A set of numbers is that of their octets: the length counts, and none is lost when it grows.
  func testSerialNumbers() {
    var serials = SerialNumbers()
    XCTAssertFalse(serials.contains([]))
    let numbers = (0..<5000).map { [UInt8](repeating: UInt8($0 & 0xFF), count: 1 + $0 >> 8) }
    for number in numbers + numbers { serials.insert(number[...]) }
    XCTAssertEqual(serials.count, 5000)
    XCTAssertTrue(numbers.allSatisfy(serials.contains))
    XCTAssertFalse(serials.contains([]))
    XCTAssertFalse(serials.contains([UInt8](repeating: 0xFF, count: 20)))
    serials.insert([UInt8](repeating: 0, count: 256)[...])
    XCTAssertEqual(serials.count, 5000)
  }

  /// A list is added in steps, and an entry that is none refuses all of it.
  func testALargeListIsAddedInSteps() throws {
    try withFolder { folder in
      try make(folder, entries: 10_000)
      let (list, issuers) = (try lists("\(folder)/crl.pem")[0], try issuers(folder))
      var revoked = RevokedCertificates()
      try revoked.begin(list, of: "crl.pem", signedBy: issuers)
      var steps = 0
      while revoked.isReading {
        try revoked.readOn()
        steps += 1
      }
      XCTAssertEqual(steps, 10)
      XCTAssertEqual(revoked.count, 10_000)
      var entries = RevocationEntries(0..<6)
      var serials = SerialNumbers()
      XCTAssertFalse(entries.read(of: [0x30, 4, 0x04, 1, 0, 0], atMost: 9, into: &serials))
      XCTAssertFalse(entries.isEmpty)
    }
  }

  /// Certificates that were revoked before the changes that it lists would pass.
  func testADeltaListIsRefused() throws {
    try withFolder { folder in
      try make(folder, entries: 2, signing: "-crlexts delta")
      var revoked = RevokedCertificates()
      let (list, issuers) = (try lists("\(folder)/crl.pem")[0], try issuers(folder))
      XCTAssertThrowsError(try revoked.add(list, of: "crl.pem", signedBy: issuers)) { XCTAssertTrue("\($0)".contains("delta list"), "\($0)") }
      try make(folder, entries: 2)
      try revoked.add(try lists("\(folder)/crl.pem")[0], of: "crl.pem", signedBy: self.issuers(folder))
    }
  }

  func testABrokenListInAFileOfSeveralIsNotLeftOut() throws {
    try withFolder { folder in
      try make(folder, entries: 1)
      let script = "cd $1 && cat crl.pem crl.pem >two.pem && (cat crl.pem; head -3 crl.pem) >cut.pem && (cat crl.pem; sed 3s/^./*/ crl.pem) >bad.pem"
      XCTAssertEqual(try runProgram(["sh", "-c", script, "sh", folder]), .exited(0))
      XCTAssertEqual(try lists("\(folder)/two.pem").count, 2)
      for name in ["cut", "bad", "ca"] { XCTAssertThrowsError(try lists("\(folder)/\(name).pem"), name) }
    }
  }
}
