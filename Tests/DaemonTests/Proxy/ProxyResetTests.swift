// The same through the chain: a client that reads nothing and resets while the server program blocks in writing, or stays after the
// server program has ended.

import XCTest

final class ProxyResetTests: ProxyTestCase {
  /// The relay of a chain whose client sends and reads nothing: all buffers are full, and the server program blocks in writing.
  ///
  /// - Parameter options: of the proxy and of the TLS helper.
  private func full(_ isSecured: Bool, _ options: [String] = []) throws -> ProxiedConnection {
    let padding = String(repeating: "x", count: 400)
    let script = ShellBackend.script(answers: [("NOOP*", "say '250 \(padding)'")])
    let connection = try chained(options, helper: options, script: script, receiveBuffer: 4096)
    try connection.greet()
    if isSecured {
      try connection.client.startTLS()
      try connection.client.ask("EHLO client.example")
    }
    try connection.client.ask("MAIL FROM:<a@client.example>")
    try connection.client.fill(with: "NOOP aaa\r\n")
    return connection
  }

  func testAClientThatResetsWhileTheServerBlocksEndsTheChain() throws {
    for isSecured in [false, true] {
      let connection = try full(isSecured)
      XCTAssertFalse(proxies.isEmpty, "the proxy waits")
      connection.client.reset()
      connection.assertLine(isSecured ? "decision=handoff" : "proof=\"mail\"", "end=\"client lost\"")
      _ = connection.process.wait()
      assertNothingIsLeft()
    }
  }

  /// tcpserver counts the server programs only: what follows their end must not stay for a client that reads nothing.
  func testAClientThatReadsNothingKeepsNoProcessAfterTheEndOfTheServer() throws {
    for isSecured in [false, true] {
      let connection = try full(isSecured, ["--end-timeout", "1000"])
      connection.process.kill()
      connection.assertLine("end=\"output stalled\"")
      if isSecured { XCTAssertTrue(eventually { connection.process.errors.contains("(--end-timeout)") }, connection.process.errors) }
      assertNothingIsLeft()
      connection.client.close()
    }
  }

  func testASessionEndsAfterItsTime() throws {
    for isRelay in [false, true] {
      let connection = try chained(["-T", "3000"])
      try connection.greet()
      if isRelay { try connection.client.ask("MAIL FROM:<a@client.example>") }
      let timedOut = "421 4.4.2 Timed out, closing connection\r\n"
      XCTAssertEqual(try connection.client.remainder().text, isRelay ? "" : timedOut)
      connection.client.close()
      connection.assertLine("end=\"session timeout\"")
      _ = connection.process.wait()
    }
    assertNothingIsLeft()
  }
}
