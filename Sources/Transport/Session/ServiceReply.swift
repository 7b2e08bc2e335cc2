// ServiceReply: what a server says about itself, outside every session's own replies.

/// Texts for clients that are not served, or no longer: RFC 5321, 3.8 and 4.2.2; RFC 3463, 4.3.2 (system not accepting
/// network messages). Whoever gets one comes again later.
public enum ServiceReply {
  /// In place of a greeting.
  public static var tooManyConnections: StaticString { "421 4.3.2 Too many connections, try again later\r\n" }

  /// Between two commands, when the server stops.
  public static var shuttingDown: StaticString { "421 4.3.2 Service shutting down, closing connection\r\n" }
}
