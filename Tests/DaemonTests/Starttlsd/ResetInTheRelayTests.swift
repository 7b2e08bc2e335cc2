// A client that pipelines in the relay, reads nothing and resets: the backend blocks in writing its replies and reads no
// more, so that neither direction can move. The session, its place and its backend are given back at once.

import XCTest

final class ResetInTheRelayTests: StarttlsdTestCase {
  func testAClientThatResetsWhileTheBackendBlocksKeepsNothing() throws {
    let daemon = try daemon()
    for phase in [SessionPhase.negotiating, .negotiatingInsideTLS] {
      let clients = try (0..<4).map { _ in try client(daemon, receiveBuffer: 4096) }
      for client in clients {
        try phase.enter(client)
        try client.ask("MAIL FROM:<a@client.example>")
        try client.fill(with: "EHLO aaa\r\n")
      }
      let known = daemon.sessions.count
      // Those that were replaced inside TLS may take a moment to end.
      XCTAssertTrue(eventually { daemon.backends.count == clients.count }, "the clients' backends wait: \(daemon.backends)")
      for client in clients { client.reset() }
      let ended = try daemon.sessions(known + clients.count).dropFirst(known)
      let outcome = phase.isInClear ? "abort mail: client lost" : "handoff: client lost"
      for session in ended { XCTAssertEqual(session.outcome, outcome, "\(session)") }
    }
  }

  /// The places are free again: more clients than places, one batch after the other, and an honest one at the end.
  func testClientsThatResetDoNotUseUpThePlaces() throws {
    let daemon = try daemon(["--max-connections", "4"])
    for batch in 1...3 {
      let clients = try (0..<4).map { _ in try client(daemon, receiveBuffer: 4096) }
      for client in clients {
        try SessionPhase.negotiating.enter(client)
        try client.ask("MAIL FROM:<a@client.example>")
        try client.fill(with: "EHLO aaa\r\n")
      }
      for client in clients { client.reset() }
      _ = try daemon.sessions(4 * batch)
    }
    let honest = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(honest)
    try honest.ask("QUIT")
    honest.close()
    _ = try daemon.sessions(13)
  }
}
