// ConversationObserver: is shown everything that enters and leaves a conversation, in order. A recording is made of it.

package import SMTPState

/// An event of a conversation, other than octets.
package enum ConversationEvent: Hashable, Sendable {
  case inputEnded(SMTPSession.Party)
  /// The kernel has accepted all output, for which the conversation has waited.
  case drained
  case tlsUnavailable
  case peeked(UInt8?, ended: Bool)
  case handshakeFinished(SMTPSession.HandshakeOutcome)
  case serverRestarted(SMTPSession.RestartOutcome)
  case timerExpired(SMTPSession.Deadline)
}

/// How a conversation reads octets of the client.
package enum ClientInput: Hashable, Sendable {
  /// A command.
  case command
  /// A line of a SASL exchange: it may have a password.
  case response
  /// Octets of a chunk that is skipped: message text.
  case chunk
}

/// Is shown the events of one conversation, and what each leads to, as they happen. Octets are as they are on the wire.
package protocol ConversationObserver: AnyObject {
  /// Octets of the client were consumed: at most to the end of one line.
  func received(_ octets: Span<UInt8>, as input: ClientInput)
  /// Octets of a server were consumed: at most to the end of one line.
  func receivedFromServer(_ octets: Span<UInt8>)
  /// Something else has happened.
  func happened(_ event: ConversationEvent)
  /// Lines for the client were added to the output.
  func wrote(_ octets: Span<UInt8>)
  /// Lines for the server were added to the output.
  ///
  /// - Parameter isResponse: true if the last one is a line of a SASL exchange.
  func wroteToServer(_ octets: Span<UInt8>, isResponse: Bool)
  /// A decision was fetched.
  func decided(_ decision: SMTPConversation.Decision)
}
