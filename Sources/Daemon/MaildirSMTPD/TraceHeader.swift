// TraceHeader: the header lines that this server adds to a message.
//
//     Return-Path: <sender>
//     Delivered-To: recipient             one line for each recipient: all of them share the one Maildir
//     Received: from NAME ([ADDRESS])
//      by HOST with ESMTPS (TLSv1.3 CIPHER) id SESSION/NAME-OF-THE-FILE;
//      DATE
//
// SESSION/ stands there only if a front end has named the session (STARTTLSD_SESSION): its log has the same name.
// RFC 5321, 4.4 for the clauses, RFC 3848 for the protocol name: ESMTPS only after EHLO inside TLS. Inserted values
// were checked: addresses by their grammar, all others by PlainText. The message's own header is unchanged.

import Glibc

/// The trace information of a message.
public struct TraceHeader: Hashable, Sendable {
  /// The sender and the recipients.
  public let envelope: Envelope
  /// The client's connection.
  public let connection: Connection
  /// The name of the server.
  public let host: String
  /// The name of the message on this server.
  public let name: String
  /// The time of arrival.
  public let time: WallTime

  /// Creates the header of one message.
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
    text += " by \(host) with \(protocolName)\(protection) id \(identifier);\n"
    text += " \(TraceHeader.date(time.seconds))\n"
    return text
  }

  /// The date and time of RFC 5322, 3.3, in UTC, such as `Mon, 24 Nov 2025 22:55:09 +0000`. No locale is ever set, so that
  /// the names are English. A time without a calendar date is given as that of 1970-01-01.
  private static func date(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var parts = tm()
    if gmtime_r(&time, &parts) == nil {
      time = 0
      gmtime_r(&time, &parts)
    }
    var text = [CChar](repeating: 0, count: 64)
    let length = strftime(&text, text.count, "%a, %d %b %Y %H:%M:%S +0000", &parts)
    return String(decoding: text[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// The client's address as an address literal (RFC 5321, 4.1.3).
  private var source: String {
    guard let address = connection.remoteAddress else { return "" }
    return address.utf8.contains(UInt8(ascii: ":")) ? " ([IPv6:\(address)])" : " ([\(address)])"
  }

  /// The slash is permitted in an atom.
  private var identifier: String { connection.session.map { "\($0)/\(name)" } ?? name }

  private var protocolName: String {
    guard envelope.hello.isExtended else { return "SMTP" }
    return connection.isSecured ? "ESMTPS" : "ESMTP"
  }

  private var protection: String {
    let words = [connection.tlsVersion, connection.tlsCipher].compactMap { $0 }
    return words.isEmpty ? "" : " (" + words.joined(separator: " ") + ")"
  }
}
