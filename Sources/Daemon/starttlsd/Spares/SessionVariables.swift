// SessionVariables: what the server program gets in its environment about a session.

import Transport

extension Configuration {
  /// The variables of a session for the program, without those of an access rule.
  ///
  /// A program with spare processes gets the same for every session, whether a spare process was ready or not: what it does must not
  /// depend on that.
  func sessionVariables(peer: SocketAddress, local: SocketAddress?, _ identifier: String, tls: TLSFacts?) -> [String] {
    guard spares == nil else { return Environment.unnamed }
    let connection =
      hidesClient ? Environment.unnamed + ["STARTTLSD_SESSION=\(identifier)"] : Environment.connection(peer: peer, local: local, identifier)
    return connection + (tls.map(Environment.tls) ?? [])
  }
}
