// UCSPIEnvironmentTests: the strings on the control socket, whole and in pieces.

import Transport
import XCTest

final class UCSPIEnvironmentTests: XCTestCase {
  func testWhatIsWrittenIsRead() throws {
    var environment = UCSPIEnvironment()
    XCTAssertEqual(environment.octets, [0, 0], "no variables are two NULs")
    environment.append("SSL_PROTOCOL", "TLSv1.3")
    environment.append("SSL_TLS_SNI_SERVERNAME", nil)
    environment.append("SSL_EMPTY", "")
    environment.append("SSL_SUBJECT", "CN=a=b")
    let octets = try XCTUnwrap(environment.octets)
    XCTAssertEqual(
      String(decoding: octets, as: UTF8.self),
      "SSL_PROTOCOL=TLSv1.3\0SSL_TLS_SNI_SERVERNAME\0SSL_EMPTY=\0SSL_SUBJECT=CN=a=b\0\0")
    for cut in 0..<octets.count {
      var reader = UCSPIEnvironmentReader()
      XCTAssertEqual(reader.receive(octets[..<cut]), .incomplete)
      XCTAssertEqual(reader.receive(octets[cut...] + [1, 2]), .complete(environment))
      XCTAssertEqual(reader.receive([3]), .complete(environment), "what comes after is ignored")
    }
  }

  func testNoVariables() {
    var reader = UCSPIEnvironmentReader()
    XCTAssertEqual(reader.receive([0, 0]), .complete(UCSPIEnvironment()))
  }

  func testWhatCannotBeExpressedIsLeftOut() {
    var environment = UCSPIEnvironment()
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0B", "x"), ("A", "x\0y")] { environment.append(name, value) }
    XCTAssertEqual(environment.variables, [])
    var reader = UCSPIEnvironmentReader()
    XCTAssertEqual(reader.receive(Array("=x\0".utf8)), .refused)
  }

  func testTheLimitCountsEveryOctet() {
    for (size, isComplete) in [(UCSPIEnvironment.sizeLimit, true), (UCSPIEnvironment.sizeLimit + 1, false)] {
      let value = String(repeating: "x", count: size - "SSL_A=\0\0".utf8.count)
      var environment = UCSPIEnvironment()
      environment.append("SSL_A", value)
      XCTAssertEqual(environment.octets?.count, isComplete ? size : nil)
      var reader = UCSPIEnvironmentReader()
      XCTAssertEqual(
        reader.receive(Array("SSL_A=\(value)\0\0".utf8)), isComplete ? .complete(environment) : .refused)
      XCTAssertEqual(reader.receive([0]), isComplete ? .complete(environment) : .refused)
    }
  }

  func testOnlyNamesAboutTLSAreImportable() {
    for (name, isImportable) in [
      ("SSL_PROTOCOL", true), ("TLS_X9", true), ("PATH", false), ("SSLCTLFD", false), ("SSL_a", false), ("SSL_A B", false),
      ("TLS_UID", false), ("TLS_GID", false), ("LD_PRELOAD", false), ("SSL_A\n", false),
    ] {
      XCTAssertEqual(UCSPIEnvironment.Variable(name, "x")?.isImportable, isImportable, name)
    }
  }
}
