// Phase: where a session is.

extension SMTPSession {
  /// Where a session is. Each case says how one gets there and what cannot happen there.
  public enum Phase: UInt8, Equatable, Sendable {
    /// From the start, until the server's greeting was passed on. The client is not read.
    case greeting
    /// From the greeting, until a decision. In clear; commands are judged, replies to EHLO rewritten.
    case negotiating
    /// From an accepted STARTTLS where the server is reset by RSET: the caller looks whether the client has sent anything
    /// after STARTTLS. Nobody is read, and nothing was sent to the server.
    case peekingBeforeReset
    /// From that look, until RSET is answered. The client is not read.
    case resetting
    /// From the answer to RSET: the caller looks whether the server has sent anything unasked. Nobody is read.
    case peekingAtServer
    /// From there, or from an accepted STARTTLS where the server is restarted: the caller looks whether the client has
    /// sent anything after STARTTLS. Nobody is read.
    case peekingAtClient
    /// From the 220, until it is with the kernel. Nobody is read. Nothing is said in clear any more.
    case promised
    /// From the handoff: the TLS layer is at work. Nobody is read.
    case handshaking
    /// From the end of the handshake, where the server is restarted, until there is one.
    case restarting
    /// From there, until the new server's greeting was swallowed. The client is not read.
    case regreeting
    /// In TLS, from the first state of the server, until the session relays or closes.
    case secured
    /// From QUIT, until its reply was passed on. The client is not read.
    case quitting
    /// From the first line of a 421 that has more, until its last. The client is not read.
    case refusing
    /// Final: the caller copies octets.
    case relaying
    /// Final.
    case closed
  }
}

#if !hasFeature(Embedded)
  extension Phase: CaseIterable {}
#endif
