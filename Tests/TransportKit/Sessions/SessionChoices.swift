// SessionChoices: a scenario out of choices. The simplest choices make the simplest session.

import PropertyKit
import SMTPState
import Transport

extension Scenario {
  /// The contents of a chunk: a line that would be a command if it were taken for one.
  static let chunk = "VRFY chunk\r\n"
}

enum SessionChoices {
  /// What a client may send in clear or inside TLS, with the number of replies to it.
  private static let lines: [(text: String, replies: Int)] = [
    ("EHLO client.example\r\n", 1), ("NOOP\r\n", 1), ("RSET\r\n", 1), ("HELP\r\n", 1), ("VRFY x\r\n", 1),
    ("NOOP 1\r\nNOOP 2\r\nHELP\r\n", 3), ("EHLO again.example\r\nNOOP\r\n", 2), ("HELO client.example\r\n", 1),
    ("noop\n", 1), ("RCPT TO:<b@mx.example>\r\n", 1), ("DATA\r\n", 1), ("AUTH PLAIN AGEAYg==\r\n", 1),
    ("BDAT \(Scenario.chunk.utf8.count)\r\n\(Scenario.chunk)", 1), ("XCLIENT NAME=x\r\n", 1), ("STARTTLS now\r\n", 1),
    ("\r\n", 1), (" x\r\n", 1),
    ("a\0b\r\n", 1), ("a\rb\r\n", 1), ("NO", 0), ("GET / HTTP/1.1\r\n", 1), ("\u{16}\u{3}\u{1}\r\n", 1),
    ("QUIT x\r\n", 1), ("BDAT 99999999\r\n", 1),
  ]

  private static let message: [ClientStep] = [
    .say("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n", replies: 3),
    .say("Subject: x\r\n\r\nHello,\r\n..dots\r\n.\r\n"), .say("QUIT\r\n"),
  ]

  static func scenario(_ choices: Choices) -> Scenario {
    var scenario = Scenario(name: "chosen", client: [])
    scenario.policy.serverReset = choices.one(of: [.rset, .restart])
    scenario.policy.security = choices.weighted([(3, .opportunistic), (1, .required)])
    scenario.client = client(choices)
    scenario.servers = [manners(choices), manners(choices)]
    scenario.helper = choices.weighted([(8, .ordinary), (1, .gone), (1, .fails), (1, .mute), (1, .babbles)])
    scenario.channels = choices.weighted([(2, .separate), (1, .kept), (1, .shared)])
    scenario.clientCut = choices.weighted([(4, Int.max), (1, 1), (1, 7), (1, 40)])
    scenario.serverCut = choices.weighted([(4, Int.max), (1, 1), (1, 5), (1, 30)])
    scenario.startsNonBlocking = choices.happens(1, of: 4)
    let asksForTLS = scenario.client.contains {
      switch $0 {
      case .starttls, .starttlsAnd, .starttlsThen: true
      case .say, .hurry, .end, .stopReading, .close, .vanish, .reset: false
      }
    }
    if !asksForTLS, choices.happens(1, of: 4) { scenario.medium = .pipes }
    return scenario
  }

  private static func client(_ choices: Choices) -> [ClientStep] {
    var steps = talk(choices)
    switch choices.below(6) {
    case 0, 1: steps += ending(choices)
    case 2, 3, 4: steps += [.starttls] + talk(choices) + ending(choices)
    default:
      let others: [ClientStep] = [.starttlsAnd("NOOP\r\n"), .starttlsThen("\u{16}nonsense"), .starttlsThen("")]
      steps.append(choices.one(of: others))
    }
    return steps
  }

  /// Commands before whatever comes.
  private static func talk(_ choices: Choices) -> [ClientStep] {
    var steps: [ClientStep] = choices.weighted([(6, [.say(lines[0].text)]), (1, [.hurry(lines[0].text)]), (1, [])])
    for _ in 0..<choices.weighted([(3, 0), (2, 1), (1, 2), (1, 4)]) {
      let (text, replies) = choices.one(of: lines)
      steps.append(choices.happens(1, of: 3) ? .hurry(text, replies: replies) : .say(text, replies: replies))
    }
    return steps
  }

  private static func ending(_ choices: Choices) -> [ClientStep] {
    switch choices.below(8) {
    case 0: [.say("QUIT\r\n")]
    case 1, 2, 3: message
    case 4: [.end]
    case 5: [choices.one(of: [.close, .vanish])]
    case 6: [.hurry("NOOP\r\nQUIT\r\n", replies: 2), .end]
    default: [message[0], .say("Subject: x\r\n\r\nHal", replies: 0), choices.one(of: [.end, .close, .vanish])]
    }
  }

  private static func manners(_ choices: Choices) -> ServerManners {
    var manners = ServerManners()
    manners.greeting = choices.weighted([(10, "220"), (1, "554"), (1, "421"), (1, "250"), (1, nil)])
    guard choices.happens(1, of: 3) else { return manners }
    let deviations: [ServerManners.Deviation] = [
      .close, .closeInReply, .refuse, .refuseInTwoLines, .silence, .chatter, .answerAndClose, .answer("451"),
      .answer("550"), .say("nonsense\r\n"), .say("250-one\r\n550 other\r\n"), .say("250"),
    ]
    manners.deviation = (choices.below(6), choices.one(of: deviations))
    return manners
  }
}
