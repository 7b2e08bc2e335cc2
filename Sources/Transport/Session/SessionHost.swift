// SessionHost: what a driver needs of the program around it.

public import SMTPState

/// The program around one session: starts and ends servers, has the TLS layer, is told the decision.
///
/// Every call returns at once. A host belongs to one driver.
public protocol SessionHost: AnyObject {
  /// Whether TLS can be had right now: the helper is alive, credentials are loaded, a TLS session could be built. Asked
  /// before the 220, since nothing may fail behind it.
  func isTLSAvailable() -> Bool

  /// Takes the client's connection over into the TLS layer. The handshake is begun by the driver's next turn.
  func handoff(_ proof: SMTPSession.Handoff, _ client: consuming PlaintextClient) -> any TLSStream

  /// STARTTLS cannot come any more: a TLS helper is to be sent away.
  func abort(_ proof: SMTPSession.Reason)

  /// The old server's connection is closed; it is to end.
  func endServer()

  /// Starts a new server, behind the handshake. `.pending`: the outcome is told later with `SessionDriver.restarted`.
  func restart(_ facts: TLSFacts) -> ServerStart

  /// One line for the operator that is not the session's last.
  func warn(_ text: String)
}

/// What starting a server came to.
public enum ServerStart: ~Copyable {
  /// It is there: a socket to it, whose description nobody else reads or writes through.
  case started(Descriptor)
  /// It is on its way.
  case pending
  /// There is none. The text says why, for the operator.
  case failed(String)
}
