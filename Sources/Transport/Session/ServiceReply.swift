// ServiceReply: replies about the service itself, outside the replies of a session.

/// Texts for clients that are refused or disconnected: RFC 5321, 3.8 and 4.2.2; RFC 3463, 4.3.2 (system not accepting
/// network messages). The client tries again later.
package enum ServiceReply {
  /// Sent in place of a greeting.
  package static var tooManyConnections: StaticString { "421 4.3.2 Too many connections, try again later\r\n" }

  /// Sent in place of a greeting to a client whose address is over one of its limits (RFC 3463, X.7.0).
  public static var tooManyFromAddress: StaticString { "421 4.7.0 Too many connections or errors from your address, try again later\r\n" }

  /// Sent in place of a greeting to a client that an access rule denies (RFC 5321, 3.1: 554).
  public static var accessDenied: StaticString { "554 5.7.1 Access denied\r\n" }

  /// Sent in place of a greeting to a client that did not wait for it (RFC 5321, 3.1).
  public static var earlyTalker: StaticString { "554 5.5.1 Octets before the greeting not accepted, closing connection\r\n" }

  /// Sent inside TLS in place of a greeting if the server cannot be started.
  package static var noServer: StaticString { "421 4.3.2 Service not available, closing connection\r\n" }

  /// Sent in place of a reply if the server that was learnt cannot be started, or is another one: what a session without a learnt
  /// server sends if there is none. Also sent if this machine lacks what a session needs to continue.
  package static var serverUnavailable: StaticString { "421 4.3.2 Mail server not available, closing connection\r\n" }

  /// Sent between two commands when the server stops.
  package static var shuttingDown: StaticString { "421 4.3.2 Service shutting down, closing connection\r\n" }
}
