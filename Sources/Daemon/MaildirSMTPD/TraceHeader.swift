// TraceHeader: the header lines that this server puts in front of a message.
//
//     Return-Path: <sender>
//     Delivered-To: recipient             one line for each recipient: all of them share the one Maildir
//     Received: from NAME ([ADDRESS])
//      by HOST with ESMTPS (TLSv1.3 CIPHER) id NAME-OF-THE-FILE;
//      DATE
//
// RFC 5321, 4.4 for the clauses, RFC 3848 for the protocol's name: ESMTPS only after EHLO inside TLS. What is filled in
// has been checked: addresses by their grammar, all else by PlainText. A message's own header is not touched.

/// What is known about a message's way.
public struct TraceHeader: Hashable, Sendable {
  /// Who sent it, and to whom.
  public let envelope: Envelope
  /// Where it came from.
  public let connection: Connection
  /// The server's name.
  public let host: String
  /// The message's name here.
  public let name: String
  /// When it arrived.
  public let time: WallTime

  /// The header of one message.
  public init(envelope: Envelope, connection: Connection, host: String, name: String, time: WallTime) {
    self.envelope = envelope
    self.connection = connection
    self.host = host
    self.name = name
    self.time = time
  }

  /// The lines, each with its LF. No line is longer than the 998 octets of RFC 5322, 2.1.1.
  public var text: String {
    var text = "Return-Path: \(envelope.sender)\n"
    for recipient in envelope.recipients { text += "Delivered-To: \(recipient.address)\n" }
    text += "Received: from \(envelope.hello.name)\(source)\n"
    text += " by \(host) with \(protocolName)\(protection) id \(name);\n"
    text += " \(MailDate.text(time.seconds))\n"
    return text
  }

  /// The client's address as a literal of RFC 5321, 4.1.3.
  private var source: String {
    guard let address = connection.remoteAddress else { return "" }
    return address.utf8.contains(UInt8(ascii: ":")) ? " ([IPv6:\(address)])" : " ([\(address)])"
  }

  private var protocolName: String {
    guard envelope.hello.isExtended else { return "SMTP" }
    return connection.isSecured ? "ESMTPS" : "ESMTP"
  }

  private var protection: String {
    let words = [connection.tlsVersion, connection.tlsCipher].compactMap { $0 }
    return words.isEmpty ? "" : " (" + words.joined(separator: " ") + ")"
  }
}
