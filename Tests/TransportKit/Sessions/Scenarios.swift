// Scenarios: the sessions that are played with every fault at every call.

import SMTPState
import Transport

extension Scenario {
  /// A whole message, in a client's words.
  private static let message: [ClientStep] = [
    .say("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n", replies: 3),
    .say("Subject: x\r\n\r\nHello,\r\n..dots\r\n.\r\n"), .say("QUIT\r\n"),
  ]
  /// More than a queue of the driver's holds.
  private static let large = String(repeating: String(repeating: "x", count: 998) + "\r\n", count: 70) + ".\r\n"
  private static let pipeline = "NOOP 1\r\nVRFY x\r\nHELP\r\nRCPT x\r\nNOOP 2\r\nEHLO d\r\n"
  private static let hello = ClientStep.say("EHLO client.example\r\n")
  private static let tls: [ClientStep] = [hello, .starttls, hello] + message

  /// The session comes to this.
  private func ends(_ decision: SessionRecord.Decision, _ end: SessionRecord.End) -> Scenario {
    var scenario = self
    scenario.decision = decision
    scenario.end = end
    return scenario
  }

  private func with(_ change: (inout Scenario) -> Void) -> Scenario {
    var scenario = self
    change(&scenario)
    return scenario
  }

  private init(_ name: String, _ client: [ClientStep], _ servers: [ServerManners] = [ServerManners()]) {
    self.init(name: name, client: client, servers: servers)
    policy.serverReset = .rset
  }

  // MARK: In clear

  /// Sessions without TLS, by whatever host.
  private static let inClear: [Scenario] = [
    Scenario("MAIL in clear", [hello] + message).ends(.abort(.mail), .relayed),
    Scenario("pipelined", [hello, .say(pipeline, replies: 6)] + message).ends(.abort(.mail), .relayed),
    Scenario("QUIT", [hello, .say("NOOP\r\n"), .say("QUIT\r\n")]).ends(.abort(.quit), .closed(.quit)),
    Scenario("QUIT without a reply", [hello, .say("QUIT\r\n")], [.at(1, .close)]).ends(.abort(.quit), .closed(.quit)),
    Scenario("the client ends", [hello, .say("NOOP\r\n"), .end]).ends(.abort(.clientEnded), .closed(.clientEnded)),
    Scenario("the client ends after commands", [hello, .hurry("NOOP 1\r\nNOOP 2\r\n", replies: 2), .end])
      .ends(.abort(.clientEnded), .closed(.clientEnded)),
    Scenario("the client resets", [hello, .say("NOOP\r\n"), .reset]).with { $0.medium = .tcp }
      .ends(.abort(.clientEnded), .clientLost),
    Scenario("the client vanishes, unread", [.hurry("EHLO c\r\n"), .vanish], [ServerManners(greeting: nil)])
      .ends(.abort(.greetingTimeout), .closed(.greetingTimeout)),
    Scenario("no server", [hello], [ServerManners(greeting: nil)])
      .ends(.abort(.greetingTimeout), .closed(.greetingTimeout)),
    Scenario("the server dies", [hello, .say("NOOP\r\n")], [.at(1, .close)])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
    Scenario("the server dies within a reply", [hello, .say("HELP\r\n")], [.at(1, .closeInReply)])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
    Scenario("421", [hello, .say("NOOP\r\n")], [.at(1, .refuse)]).ends(.abort(.serverRefused), .closed(.serverRefused)),
    Scenario("421 in two lines", [hello, .say("NOOP\r\n")], [.at(1, .refuseInTwoLines)])
      .ends(.abort(.serverRefused), .closed(.serverRefused)),
    Scenario("the server falls silent", [hello, .say("NOOP\r\n")], [.at(1, .silence)])
      .ends(.abort(.replyTimeout), .closed(.replyTimeout)),
    Scenario("the client falls silent", [hello, .say("NOOP\r\n")])
      .ends(.abort(.commandTimeout), .closed(.commandTimeout)),
    Scenario("a greeting of 554", [.say("QUIT\r\n")], [ServerManners(greeting: "554")])
      .ends(.abort(.quit), .closed(.quit)),
    Scenario("HTTP", [.say("POST / HTTP/1.1\r\nHost: x\r\n\r\n")])
      .ends(.abort(.wrongProtocol), .closed(.wrongProtocol)),
    Scenario("a large message", [hello, message[0], .say(large), .say("QUIT\r\n")]).ends(.abort(.mail), .relayed),
    Scenario("the client ends within its message", [hello, message[0], .say("Subject: x\r\n\r\nHal", replies: 0), .end])
      .ends(.abort(.mail), .relayed),
    Scenario("the server dies within the message", [hello, message[0], message[1]], [.at(4, .close)])
      .ends(.abort(.mail), .relayed),
  ]

  // MARK: With TLS

  /// Sessions that ask for TLS, by whatever host, where the server is brought back in either way.
  private static func asking(_ host: HostKind, _ reset: Policy.ServerReset) -> [Scenario] {
    let scenarios = [
      Scenario("STARTTLS and MAIL", tls).ends(.handoff, .relayed),
      Scenario("STARTTLS and QUIT", [hello, .starttls, hello, .say("QUIT\r\n")]).ends(.handoff, .closed(.quit)),
      Scenario("the client ends inside TLS", [hello, .starttls, hello, .end]).ends(.handoff, .closed(.clientEnded)),
      Scenario("the handshake fails", [hello, .starttlsThen("\u{16}nonsense")]).ends(.handoff, .closed(.tlsFailed)),
      Scenario("the handshake does not begin", [hello, .starttlsThen("")]).ends(.handoff, .closed(.handshakeTimeout)),
      Scenario("the client vanishes after STARTTLS", [hello, .starttls, .vanish])
        .ends(.abort(.clientEnded), .closed(.clientEnded)),
      Scenario("the client leaves after the 220", [hello, .starttlsThen(""), .close])
        .ends(.handoff, .closed(.tlsFailed)),
      Scenario("injected", [hello, .starttlsAnd("NOOP\r\n")])
        .ends(.abort(.injectedPlaintext), .closed(.injectedPlaintext)),
      Scenario("TLS is required", [hello, .say("MAIL FROM:<a@b>\r\n")] + tls)
        .with { $0.policy.security = .required }.ends(.handoff, .relayed),
    ]
    return scenarios.map { scenario in
      scenario.with {
        $0.host = host
        $0.policy.serverReset = reset
      }
    }
  }

  /// What only RSET can come to.
  private static let resetting: [Scenario] = [
    Scenario("RSET is refused", tls, [.at(1, .answer("451"))]).ends(.abort(.quit), .closed(.quit)),
    Scenario("RSET gets 421", tls, [.at(1, .refuse)]).ends(.abort(.serverRefused), .closed(.serverRefused)),
    Scenario("RSET gets no answer", tls, [.at(1, .silence)]).ends(.abort(.resetTimeout), .closed(.resetTimeout)),
    Scenario("an unasked reply after RSET", tls, [.at(1, .chatter)])
      .ends(.abort(.serverUnasked), .closed(.serverUnasked)),
    Scenario("the server dies after RSET", tls, [.at(1, .answerAndClose)])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
    Scenario("the server dies inside TLS", tls, [.at(2, .close)]).ends(.handoff, .closed(.serverEnded)),
  ]

  /// What only a helper can come to.
  private static let helped: [Scenario] = [
    Scenario("the helper is gone", tls).with { $0.helper = .gone }.ends(.abort(.quit), .closed(.quit)),
    Scenario("the helper fails", tls).with { $0.helper = .fails }.ends(.handoff, .closed(.tlsFailed)),
    Scenario("the helper says nothing", tls).with { $0.helper = .mute }.ends(.handoff, .closed(.handshakeTimeout)),
    Scenario("the helper babbles", tls).with { $0.helper = .babbles }.ends(.handoff, .closed(.tlsFailed)),
    Scenario("the control socket stays open", tls).with { $0.channels = .kept }.ends(.handoff, .relayed),
    Scenario("one socket for all channels", tls).with { $0.channels = .shared }.ends(.handoff, .relayed),
    Scenario("the helper fails on its one socket", tls)
      .with {
        $0.channels = .shared
        $0.helper = .fails
      }.ends(.handoff, .closed(.tlsFailed)),
    Scenario("the client's socket is not blocking", tls).with { $0.startsNonBlocking = true }.ends(.handoff, .relayed),
  ]

  /// What only a restart can come to.
  private static let restarting: [Scenario] = [
    Scenario("no server after the handshake", tls, [ServerManners(), ServerManners(greeting: nil)])
      .ends(.handoff, .closed(.greetingTimeout)),
    Scenario("a server of 554 after the handshake", tls, [ServerManners(), ServerManners(greeting: "554")])
      .ends(.handoff, .closed(.restartFailed)),
    Scenario("the server dies inside TLS", tls, [ServerManners(), .at(4, .close)]).ends(.handoff, .relayed),
  ].map { scenario in scenario.with { $0.policy.serverReset = .restart } }

  /// What begins with what was learnt of the server.
  private static let learnt: [Scenario] = [
    Scenario("MAIL in clear, learnt", [hello] + message).ends(.abort(.mail), .relayed),
    Scenario("pipelined, learnt", [hello, .say(pipeline, replies: 6)] + message).ends(.abort(.mail), .relayed),
    Scenario("HELO and QUIT, learnt", [.say("HELO client.example\r\n"), .say("QUIT\r\n")]).ends(.abort(.quit), .closed(.quit)),
    Scenario("EHLO and QUIT, learnt", [hello, .say("QUIT\r\n")]).ends(.abort(.quit), .closed(.quit)),
    Scenario("the client ends, learnt", [hello, .end]).ends(.abort(.clientEnded), .closed(.clientEnded)),
    Scenario("STARTTLS and QUIT, learnt", [hello, .starttls, hello, .say("QUIT\r\n")]).ends(.handoff, .closed(.quit)),
    Scenario("NOOP and STARTTLS, learnt", [hello, .say("NOOP\r\n"), .starttls, hello, .say("QUIT\r\n")]).ends(.handoff, .closed(.quit)),
    Scenario("another greeting, learnt", [hello, .say("NOOP\r\n")], [ServerManners(greeting: "554")])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
    Scenario("another reply to EHLO and MAIL, learnt", [hello, message[0]], [.at(0, .answer("250"))])
      .ends(.abort(.mail), .closed(.serverEnded)),
    Scenario("no server, learnt", [hello, .say("NOOP\r\n")], [ServerManners(greeting: nil)])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
    Scenario("the server dies at EHLO, learnt", [hello, .say("NOOP\r\n")], [.at(0, .close)])
      .ends(.abort(.serverEnded), .closed(.serverEnded)),
  ].map { scenario in
    scenario.with {
      $0.isLearnt = true
      for index in $0.servers.indices { $0.servers[index].hasFixedQuit = true }
    }
  }

  // MARK: All

  /// As starttls-proxy plays them.
  static let ofTheProxy: [Scenario] =
    (inClear + asking(.helper, .rset) + resetting + helped)
    + [
      inClear[0].with { $0.medium = .tcp }, asking(.helper, .rset)[0].with { $0.medium = .tcp },
      inClear[0].with { $0.medium = .pipes }, inClear[2].with { $0.medium = .pipes },
    ]

  /// As starttlsd plays them.
  static let ofTheDaemon: [Scenario] =
    (learnt + [inClear[0], inClear[2], inClear[4], inClear[8]] + asking(.engine, .restart) + restarting).map { scenario in
      scenario.with {
        $0.host = .engine
        $0.policy.serverReset = .restart
      }
    } + [
      asking(.engine, .restart)[0].with { $0.medium = .tcp },
      Scenario("the client resets inside TLS", [hello, .starttls, hello, .reset])
        .with {
          $0.host = .engine
          $0.medium = .tcp
        }.ends(.handoff, .clientLost),
    ]

  /// The name with what the name does not say.
  var fullName: String { "\(name) (\(host), \(policy.serverReset), \(medium))" }

  /// Whether it is too long to be played octet by octet.
  var isLarge: Bool { name == "a large message" }

  /// Whether octets that come later than they came lead elsewhere: the session looks whether they are there.
  var dependsOnTiming: Bool { ["injected", "after RSET", "after STARTTLS"].contains { name.contains($0) } }
}
