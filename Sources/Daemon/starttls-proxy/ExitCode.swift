// ExitCode: the exit codes of the program and of the proxy, by class, as in UCSPI programs.

import SMTPState
import Transport

/// The exit codes. The program itself ends only if it could not execute the server program. The proxy has no parent
/// that waits for it; it exits with the class of its session.
enum ExitCode: CInt {
  /// The session ended normally; help or version was printed.
  case done = 0
  /// The client was refused, or its connection broke.
  case client = 1
  /// TLS failed after the 220.
  case tls = 98
  /// A timeout expired.
  case timeout = 99
  /// Wrong usage, a variable names no channel, or the server program does not speak SMTP.
  case usage = 100
  /// The system refused a request, or the server program ended prematurely.
  case system = 111
  /// The server program exists but cannot be executed.
  case notExecutable = 126
  /// The server program does not exist.
  case notFound = 127

  /// The class for the end of a session.
  init(_ end: SessionRecord.End?) {
    switch end {
    case .closed(let reason): self = ExitCode(reason)
    case .relayed: self = .done
    case .relayIdle, .outputStalled, .sessionTimeout: self = .timeout
    case .clientLost, .earlyTalker: self = .client
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
