// Phase: the states of the control. Session.swift says what each property means in which phase.

extension SMTPSession {
  /// The phase of a session. Each case says when the phase begins and ends, and what cannot happen in it.
  public enum Phase: UInt8, Equatable, Sendable {
    /// From the start, until the server's greeting was passed on. The client is not read.
    case greeting
    /// From the greeting, until the switch to TLS begins or STARTTLS is abandoned. In clear: commands are judged, and replies to
    /// EHLO are rewritten.
    case negotiating
    /// From an accepted STARTTLS, where the server is reset by RSET: the caller peeks whether the client has sent anything
    /// after STARTTLS. Neither side is read, and RSET is not sent yet.
    case peekingBeforeReset
    /// From that peek, until RSET is answered. The client is not read.
    case resetting
    /// From the answer to RSET: the caller peeks whether the server has sent an unasked reply. Neither side is read.
    case peekingAtServer
    /// From the peek at the server, or from an accepted STARTTLS where the server is restarted: the caller peeks whether the
    /// client has sent anything after STARTTLS. Neither side is read.
    case peekingAtClient
    /// From the 220, until the kernel has accepted it. Neither side is read. Nothing more is sent in clear.
    case promised
    /// From the handoff, until the TLS layer reports the outcome. Neither side is read.
    case handshaking
    /// From the end of the handshake, where the server is restarted, until the new server is reported. Neither side is read.
    case restarting
    /// From the restart, until the new server's greeting was received and discarded. The client is not read.
    case regreeting
    /// Inside TLS, from the time when the server is ready, until the session relays or closes.
    case secured
    /// From QUIT, until its reply was passed on. The client is not read.
    case quitting
    /// From the first line of a 421 reply of several lines, until its last line. The client is not read.
    case refusing
    /// Final: the caller copies octets both ways.
    case relaying
    /// Final: the caller closes.
    case closed
  }
}

#if !hasFeature(Embedded)
  extension Phase: CaseIterable {}
#endif
