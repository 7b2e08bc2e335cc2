// RevocationListTests: a list is taken apart as the library does it, in a time that grows with its length.

import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class RevocationListTests: XCTestCase {
  /// An issuer in `ca.pem`, and lists with so many entries, which have reasons: `crl.pem` and `crl.der`.
  private func make(_ folder: String, entries: Int, key: String = "ec -pkeyopt ec_paramgen_curve:P-256", signing: String = "") throws {
    let lines = (0..<entries).map { "R\t391231235959Z\t250101000000Z,keyCompromise\t\(String(0x1A_0000 + $0, radix: 16).uppercased())\tunknown\t/CN=x" }
    try write(lines.joined(separator: "\n") + "\n", to: "\(folder)/index")
    let script = """
      cd "$1" && printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\n[delta]\\ndeltaCRL=critical,ASN1:INTEGER:1\\n' >ca.conf &&
      openssl req -x509 -nodes -newkey \(key) -days 30 -subj /CN=ca -keyout ca.key -out ca.pem &&
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

  func testTheEntriesAndTheSignatureAreThoseOfTheList() throws {
    for (key, signing, isApart) in [
      ("ec -pkeyopt ec_paramgen_curve:P-256", "", true), ("rsa:2048", "", true),
      ("rsa:2048", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1", false),
    ] {
      try withFolder { folder in
        try make(folder, entries: 3, key: key, signing: signing)
        let issuers = try issuers(folder)
        let all = try lists("\(folder)/crl.pem")
        XCTAssertEqual(all, try lists("\(folder)/crl.der"))
        var code: CInt = 0
        let list = try XCTUnwrap(RevocationList.read(all[0], &code))
        XCTAssertEqual(list.serials, isApart ? [[0x1A, 0, 0], [0x1A, 0, 1], [0x1A, 0, 2]] : nil)
        XCTAssertTrue(issuers.haveSigned(list), "\(key) \(signing)")
        // Another serial number, or another octet of the signature.
        let octets = all[0]
        let place = try XCTUnwrap((0..<octets.count - 3).first { Array(octets[$0..<$0 + 3]) == [0x1A, 0, 1] })
        for index in [place + 1, octets.count - 1] {
          var changed = octets
          changed[index] ^= 1
          XCTAssertFalse(RevocationList.read(changed, &code).map { issuers.haveSigned($0) } ?? false, "\(index)")
        }
      }
    }
  }

  /// The library needs more than a minute for such a list.
  func testAListOfManyEntriesWithReasons() throws {
    try withFolder { folder in
      try make(folder, entries: 20_000)
      let issuers = try issuers(folder)
      let start = clock()
      var code: CInt = 0
      let list = try XCTUnwrap(RevocationList.read(try lists("\(folder)/crl.pem")[0], &code))
      XCTAssertEqual(list.serials?.count, 20_000)
      XCTAssertTrue(issuers.haveSigned(list))
      XCTAssertLessThan(Double(clock() - start) / Double(CLOCKS_PER_SEC), 5)
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
