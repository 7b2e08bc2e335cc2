// SessionPhase: how far a client goes into a session, for tests of what may happen there.

/// A place in a session with maildir-smtpd as the server program.
enum SessionPhase: CaseIterable {
  /// The greeting may not have come.
  case connected
  case greeted
  /// EHLO was answered.
  case negotiating
  /// In the middle of a command.
  case insideALine
  /// The 220 has come; the client has sent no ClientHello.
  case handshakeAwaited
  /// Half a ClientHello was sent.
  case insideTheClientHello
  /// The server's half of the handshake has come; the client has not finished.
  case insideTheHandshake
  /// The handshake is over.
  case secured
  /// EHLO was answered inside TLS.
  case negotiatingInsideTLS
  case dataInClear
  case dataInsideTLS

  /// Brings a new client there.
  func enter(_ client: SMTPClient) throws {
    switch self {
    case .connected: return
    case .greeted:
      try client.expect("220 ")
    case .negotiating:
      try SessionPhase.greeted.enter(client)
      try client.send("EHLO client.example\r\n")
      try client.expect("250-")
    case .insideALine:
      try SessionPhase.negotiating.enter(client)
      try client.send("MAIL FR")
    case .handshakeAwaited:
      try SessionPhase.negotiating.enter(client)
      try client.send("STARTTLS\r\n")
      try client.expect("220 2.0.0 ")
    case .insideTheClientHello:
      try SessionPhase.handshakeAwaited.enter(client)
      let hello = try client.beginTLS()
      try client.sendRaw(Array(hello.prefix(hello.count / 2)))
    case .insideTheHandshake:
      try SessionPhase.handshakeAwaited.enter(client)
      try client.sendRaw(try client.beginTLS())
      _ = try client.receiveRaw()
    case .secured:
      try SessionPhase.negotiating.enter(client)
      try client.startTLS()
    case .negotiatingInsideTLS:
      try SessionPhase.secured.enter(client)
      try client.send("EHLO client.example\r\n")
      try client.expect("250-")
    case .dataInClear:
      try SessionPhase.negotiating.enter(client)
      try enterData(client)
    case .dataInsideTLS:
      try SessionPhase.negotiatingInsideTLS.enter(client)
      try enterData(client)
    }
  }

  private func enterData(_ client: SMTPClient) throws {
    try client.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n")
    for beginning in ["250 ", "250 ", "354 "] { try client.expect(beginning) }
    try client.send("Subject: half a message\r\n\r\nHalf a li")
  }

  /// Whether the server's octets are still in clear.
  var isInClear: Bool {
    switch self {
    case .connected, .greeted, .negotiating, .insideALine, .dataInClear: true
    case .handshakeAwaited, .insideTheClientHello, .insideTheHandshake, .secured, .negotiatingInsideTLS, .dataInsideTLS: false
    }
  }
}
