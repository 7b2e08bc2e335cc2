// core-bench: lets sessions see one command again and again, to be counted from outside.
//
// Usage: core-bench start|ehlo|noop|starttls|mail count
//
// Every round begins with a copy of a session that is ready for the command; `start` is the round without the command.

import SMTPState

func show(_ text: StaticString, _ party: SMTPSession.Party, _ session: inout Session) {
  let octets = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  var shown = 0
  while shown < octets.count {
    let step = session.receive(UnsafeBufferPointer(rebasing: octets[shown...]).span, from: party)
    shown += step.consumed
    while session.interest == .again { _ = session.nextCommand() }
    if step.consumed == 0 { break }
  }
}

let words = CommandLine.arguments
guard words.count == 3, let count = Int(words[2]) else { fatalError("usage: core-bench start|ehlo|noop|starttls|mail count") }
var ready = SMTPSession(SMTPSession.Policy())
show("220 mail.example ESMTP\r\n", .server, &ready)
show("EHLO client.example\r\n", .client, &ready)
show("250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n", .server, &ready)

var phases = 0
for _ in 0..<count {
  var session = ready
  switch words[1] {
  case "ehlo":
    show("EHLO client.example\r\n", .client, &session)
    show("250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n", .server, &session)
  case "noop":
    show("NOOP\r\n", .client, &session)
    show("250 2.0.0 OK\r\n", .server, &session)
  case "starttls":
    show("STARTTLS\r\n", .client, &session)
    _ = session.peeked(nil, ended: false)
    _ = session.outputDrained()
    while session.interest == .again { _ = session.nextCommand() }
  case "mail":
    show("MAIL FROM:<somebody@client.example>\r\n", .client, &session)
  default: break
  }
  phases &+= Int(session.phase.rawValue)
}
print(phases)
