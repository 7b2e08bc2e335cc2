// The commands of the server, and the state that they keep.

import Glibc
import NIOCore

/// The sender and the recipients of a mail.
struct Envelope {
  var sender: String
  var recipients: [String] = []
}

extension SMTPServerHandler {
  /// Serves one line.
  func serve(_ line: String, _ context: ChannelHandlerContext) {
    let words = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    let argument = words.count > 1 ? String(words[1]) : ""
    switch words[0].uppercased() {
    case "EHLO", "HELO":
      guard !argument.isEmpty, argument.utf8.count <= 255 else { return answer("501 5.5.4 Invalid client name", context) }
      clientName = argument
      envelope = nil
      let name = configuration.name
      if words[0].uppercased() == "HELO" { return answer("250 \(name)", context) }
      answer("250-\(name)\r\n250-PIPELINING\r\n250-SIZE \(Self.messageLimit)\r\n250 8BITMIME", context)
    case "MAIL":
      guard clientName != nil, envelope == nil else { return answer("503 5.5.1 Bad sequence of commands", context) }
      guard let path = Self.path(argument, after: "FROM:", parameters: ["SIZE=", "BODY="]) else {
        return answer("501 5.5.4 Syntax: MAIL FROM:<path> [SIZE=] [BODY=]", context)
      }
      envelope = Envelope(sender: path)
      answer("250 2.1.0 Sender accepted", context)
    case "RCPT":
      guard let count = envelope?.recipients.count else { return answer("503 5.5.1 MAIL first", context) }
      guard let path = Self.path(argument, after: "TO:", parameters: []), !path.isEmpty else {
        return answer("501 5.5.4 Syntax: RCPT TO:<path>", context)
      }
      guard count < Self.recipientLimit else { return answer("452 4.5.3 Too many recipients", context) }
      envelope?.recipients.append(path)
      answer("250 2.1.5 Recipient accepted", context)
    case "DATA":
      guard envelope?.recipients.isEmpty == false else { return answer("503 5.5.1 RCPT first", context) }
      message = MessageReader(limit: Self.messageLimit)
      answer("354 End with CR LF . CR LF", context)
    case "RSET":
      envelope = nil
      answer("250 2.0.0 Reset", context)
    case "NOOP": answer("250 2.0.0 OK", context)
    case "VRFY": answer("252 2.5.2 Cannot verify the address", context)
    case "QUIT": end("221 2.0.0 Bye", context)
    default: answer("502 5.5.1 Command not implemented", context)
    }
  }

  /// The path between < and >. Nil if another parameter than those of EHLO's reply follows it.
  private static func path(_ argument: String, after word: String, parameters: [String]) -> String? {
    guard argument.uppercased().hasPrefix(word) else { return nil }
    let rest = argument.dropFirst(word.count).drop { $0 == " " }
    guard rest.first == "<", let end = rest.firstIndex(of: ">") else { return nil }
    let path = rest[rest.index(after: rest.startIndex)..<end]
    let others = rest[rest.index(after: end)...]
    guard path.utf8.count < 256, others.isEmpty || others.first == " " else { return nil }
    let isKnown = others.split(separator: " ").allSatisfy { other in
      parameters.contains { other.uppercased().hasPrefix($0) }
    }
    return isKnown ? String(path) : nil
  }

  /// The trace lines that this server adds before a message.
  func traceLines(_ mail: Envelope?, _ context: ChannelHandlerContext) -> String {
    let peer = context.channel.remoteAddress?.ipAddress ?? "unknown"
    var lines = "Return-Path: <\(mail?.sender ?? "")>\r\n"
    for recipient in mail?.recipients ?? [] { lines += "Delivered-To: \(recipient)\r\n" }
    lines += "Received: from \(clientName ?? "unknown") ([\(peer)]) by \(configuration.name)"
    return lines + " with \(configuration.transmission); \(Self.date())\r\n"
  }

  private static func date() -> String {
    var seconds = time(nil)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
      let count = strftime(text.baseAddress!, text.count, "%a, %d %b %Y %H:%M:%S +0000", &parts)
      return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
