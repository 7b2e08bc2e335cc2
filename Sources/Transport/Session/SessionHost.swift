// SessionHost: the interface between a driver and the program around it.

public import SMTPState

/// The program around one session: it starts and ends servers, provides the TLS layer, and is notified of the decision.
///
/// Each call returns at once. A host belongs to one driver.
public protocol SessionHost: AnyObject {
  /// True if TLS is available now: the helper runs, credentials are loaded, a TLS session can be created. The driver
  /// asks before it sends the 220, because a failure after the 220 cannot be reported to the client.
  func isTLSAvailable() -> Bool

  /// Passes the client's connection to the TLS layer. The driver starts the handshake in its next turn.
  func handoff(_ proof: SMTPSession.Handoff, _ client: consuming PlaintextClient) -> any TLSStream

  /// STARTTLS is no longer possible: a waiting TLS helper is no longer needed.
  func abort(_ proof: SMTPSession.Reason)

  /// The connection to the old server is closed; the server must end.
  func endServer()

  /// Starts a new server after the handshake. `.pending`: the result is reported later with `SessionDriver.serverStarted`.
  func restart(_ facts: TLSFacts) -> ServerStart
}

/// The result of starting a server.
public enum ServerStart: ~Copyable {
  /// The server runs: a socket to it, whose description nobody else reads or writes through.
  case started(Descriptor)
  /// The start is in progress.
  case pending
  /// The start failed. The text gives the reason, for the operator.
  case failed(String)
}
