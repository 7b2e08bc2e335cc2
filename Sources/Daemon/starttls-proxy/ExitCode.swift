// ExitCode: how the program and the proxy end, by class, as in the UCSPI world.

import SMTPState
import Transport

/// The exit codes. The program itself ends only when it could not execute the server program; the proxy is nobody's child
/// and ends with the class of its session.
enum ExitCode: CInt {
  /// The session came to its end; help or version was printed.
  case done = 0
  /// The client was turned away, or its connection broke.
  case client = 1
  /// There was no TLS behind the 220.
  case tls = 98
  /// Somebody took too long.
  case timeout = 99
  /// Called wrongly, a variable names no channel, or the server program does not speak SMTP.
  case usage = 100
  /// The system does not let the program work, or the server program ended before its time.
  case system = 111
  /// The server program is there but cannot be executed.
  case notExecutable = 126
  /// It is not there.
  case notFound = 127

  /// The class of a session's end.
  init(_ end: SessionRecord.End?) {
    switch end {
    case .closed(let reason): self = ExitCode(reason)
    case .relayed: self = .done
    case .relayIdle, .outputStalled, .sessionTimeout: self = .timeout
    case .clientLost: self = .client
    case .stopped, nil: self = .system
    }
  }

  private init(_ reason: SMTPSession.Reason) {
    switch reason {
    case .mail, .quit, .clientEnded: self = .done
    case .injectedPlaintext, .tooManyCommands, .wrongProtocol, .chunkTooLarge, .badChunk, .badResponse: self = .client
    case .tlsFailed: self = .tls
    case .greetingTimeout, .commandTimeout, .replyTimeout, .resetTimeout, .handshakeTimeout, .clearPhaseTimeout:
      self = .timeout
    case .serverGarbage, .serverUnasked: self = .usage
    case .serverEnded, .serverRefused, .restartFailed, .misuse: self = .system
    }
  }
}
