// ServiceReply: replies about the service itself, outside the replies of a session.

/// Texts for clients that are refused or dismissed: RFC 5321, 3.8 and 4.2.2; RFC 3463, 4.3.2 (system not accepting
/// network messages). The client tries again later.
package enum ServiceReply {
  /// Sent in place of a greeting.
  package static var tooManyConnections: StaticString { "421 4.3.2 Too many connections, try again later\r\n" }

  /// Sent between two commands when the server stops.
  package static var shuttingDown: StaticString { "421 4.3.2 Service shutting down, closing connection\r\n" }
}
