// core-bench: gives sessions one command again and again; callgrind counts the instructions.
//
// Usage: core-bench start|ehlo|noop|starttls|mail count
//
// Every round begins with a copy of a session that is ready for the command; `start` is the round without the command.

import SMTPState

func give(_ text: StaticString, _ party: SMTPSession.Party, _ session: inout SMTPSession) {
  let octets = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  var given = 0
  while given < octets.count {
    let step = session.receive(UnsafeBufferPointer(rebasing: octets[given...]).span, from: party)
    given += step.consumed
    while session.interest == .again { _ = session.nextCommand() }
    if step.consumed == 0 { break }
  }
}

let words = CommandLine.arguments
guard words.count == 3, let count = Int(words[2]) else { fatalError("usage: core-bench start|ehlo|noop|starttls|mail count") }
var ready = SMTPSession(SMTPSession.Policy())
give("220 mail.example ESMTP\r\n", .server, &ready)
give("EHLO client.example\r\n", .client, &ready)
give("250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n", .server, &ready)

var phases = 0
for _ in 0..<count {
  var session = ready
  switch words[1] {
  case "ehlo":
    give("EHLO client.example\r\n", .client, &session)
    give("250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n", .server, &session)
  case "noop":
    give("NOOP\r\n", .client, &session)
    give("250 2.0.0 OK\r\n", .server, &session)
  case "starttls":
    give("STARTTLS\r\n", .client, &session)
    _ = session.peeked(nil, ended: false)
    _ = session.outputDrained()
    while session.interest == .again { _ = session.nextCommand() }
  case "mail":
    give("MAIL FROM:<somebody@client.example>\r\n", .client, &session)
  default: break
  }
  phases &+= Int(session.phase.rawValue)
}
print(phases)
