// ScriptedServer: a server that answers every line, and marks each reply so that it can be known again.
//
// Every reply ends with a mark: `s` and the server's number, `n` and the reply's. Marks that arrive at the client in
// order, each at most once, in the line that carried it, prove that no reply was lost, repeated or altered on the way.

import Transport

/// The far end of the driver's connection to a server.
final class ScriptedServer {
  let end: FarEnd
  /// All that came from the driver.
  private(set) var received: [UInt8] = []
  /// All that it sent.
  private(set) var sent: [UInt8] = []

  static let fixedQuit = "221 bye\r\n"

  /// What a server with a fixed reply to QUIT sends if it is the first one and has ordinary manners.
  static let learnt = LearntReplies(
    greeting: Array("220 mx.example ready s0n1.0\r\n".utf8),
    hello: Array("250-mx.example s0n2.0\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 HELP\r\n".utf8),
    quit: Array(fixedQuit.utf8))

  let index: Int
  private let manners: ServerManners
  private var line: [UInt8] = []
  private var commands = 0
  private var replies = 0
  private var isInMessage = false
  private var isSilent = false
  private var hasStoppedReading = false
  private var isLeaving = false

  init(_ end: FarEnd, index: Int, _ manners: ServerManners) {
    self.end = end
    self.index = index
    self.manners = manners
    if let greeting = manners.greeting { reply(greeting, "mx.example ready") }
  }

  /// Reads, answers, writes; whether anything moved.
  func step() -> Bool {
    if manners.isBlocking { end.hasStoppedReading = hasStoppedReading || end.hasToSend }
    var isMoved = end.step()
    let came = end.take()
    received += came
    for octet in came where end.isOpen && !isLeaving {
      line.append(octet)
      if octet == UInt8(ascii: "\n") { take(String(decoding: line, as: UTF8.self)) }
    }
    if end.isOpen, end.hasEnded || isLeaving, !end.hasToSend || end.isBroken {
      end.close()
      isMoved = true
    }
    return isMoved
  }

  /// Reads again, to see the end.
  func hearAgain() {
    hasStoppedReading = false
    end.hasStoppedReading = false
  }

  private func take(_ text: String) {
    line = []
    guard !isSilent else { return }
    if isInMessage {
      guard text == ".\r\n" else { return }
      isInMessage = false
    }
    defer { commands += 1 }
    if let (command, deviation) = manners.deviation, command == commands { return deviate(deviation, text) }
    answer(text)
  }

  private func answer(_ text: String) {
    switch text.prefix(4).uppercased() {
    case "EHLO", "LHLO": reply("250", "mx.example", "SIZE 1000", "STARTTLS", "AUTH PLAIN", "HELP")
    case "HELP": reply("214", "This", "helps")
    case "DATA":
      isInMessage = true
      reply("354", "go on")
    case "QUIT":
      if manners.hasFixedQuit { say(ScriptedServer.fixedQuit) } else { reply("221", "bye") }
      isLeaving = true
    default: reply("250", "done")
    }
  }

  private func deviate(_ deviation: ServerManners.Deviation, _ text: String) {
    switch deviation {
    case .close: isLeaving = true
    case .closeInReply:
      say("250-only \(mark())\r\n")
      isLeaving = true
    case .refuse:
      reply("421", "closing")
      isLeaving = true
    case .refuseInTwoLines:
      reply("421", "closing", "now")
      isLeaving = true
    case .answer(let code): reply(code, "so be it")
    case .say(let text): say(text)
    case .silence: isSilent = true
    case .deafness:
      isSilent = true
      hasStoppedReading = true
      end.hasStoppedReading = true
    case .chatter:
      answer(text)
      reply("250", "nobody asked")
    case .answerAndClose:
      answer(text)
      isLeaving = true
    }
  }

  private func reply(_ code: String, _ lines: String...) {
    let mark = mark()
    let padding = String(repeating: "x", count: manners.padding)
    for (position, line) in lines.enumerated() {
      let isLast = position + 1 == lines.count
      // Keywords must stay what they are; every other line carries the mark.
      let isMarked = code != "250" || lines.count == 1 || position == 0
      say("\(code)\(isLast ? " " : "-")\(line)\(isMarked ? " \(padding)\(mark).\(position)" : "")\r\n")
    }
  }

  private func mark() -> String {
    replies += 1
    return "s\(index)n\(replies)"
  }

  private func say(_ text: String) {
    sent += text.utf8
    end.say(text.utf8)
  }
}
