// Script: a dialogue as octets, for a fuzzer: it changes octets and knows nothing of events.
//
// The first two octets are options; a bit that means nothing must be zero, so that no two inputs differ in nothing.
//
//     octet 0   1 STARTTLS required   2 LMTP   4 reset by RSET   8 bare LF rejected, else tolerated   16 cleartext AUTH allowed
//     octet 1   0-3 the limits: as shipped, or one of three small sets   4 looks by hand   8 drains by hand
//
// Octets below 0x80, and above 0x9F, are what the speaker says; the server begins. Those between are marks:
//
//     80 81        the client, the server speaks from here; what was sent before has arrived by then
//     82           the other one speaks from here, and both arrive together
//     83 84        the client, the server ends after what arrives
//     85 - 99      an event of another kind, after what was sent
//     9F           the next octet is sent, whatever it is
//
// So the text of a dialogue stands in the input as it is, and the words of a dictionary can be put anywhere.

import SMTPState

struct Script: Equatable {
  var policy = Policy()
  var byHand = ByHand()
  var events: [Event] = []
}

extension Script {
  private enum Mark {
    static let client: UInt8 = 0x80
    static let server: UInt8 = 0x81
    static let together: UInt8 = 0x82
    static let clientEnds: UInt8 = 0x83
    static let serverEnds: UInt8 = 0x84
    static let firstEvent: UInt8 = 0x85
    static let said: UInt8 = 0x9F
    static let all: ClosedRange<UInt8> = 0x80...0x9F
  }

  /// The events that have a mark of their own, from `Mark.firstEvent` on.
  private static let marked: [Event] =
    [
      .peekedAsItIs, .peeked(nil, ended: false), .peeked(nil, ended: true), .peeked(0x16, ended: false),
      .peeked(0x4D, ended: false), .drained, .unavailable, .secured(.established), .secured(.failed),
      .restarted(.greeting), .restarted(.ready), .restarted(.failed),
    ] + Deadline.allCases.map { .expired($0) }
    + [.late(Array("250 late\r\n".utf8), ended: false), .late([], ended: true)]

  /// The sets of limits. Those as shipped are met by the longest inputs only.
  private static func limits(_ number: UInt8, _ policy: inout Policy) {
    guard number > 0 else { return }
    let index = Int(number) - 1
    policy.commandLineLimit = [60, 24, 16][index]
    policy.responseLineLimit = [40, 40, 8][index]
    policy.replyLineLimit = [60, 24, 24][index]
    policy.replyLinesLimit = [6, 3, 3][index]
    policy.outstandingLimit = [3, 2, 1][index]
    policy.junkLimit = [4, 2, 1][index]
    policy.commandLimit = [12, 7, 4][index]
    policy.chunkLimit = [30, 30, 7][index]
  }
}

// MARK: - Reading

extension Script {
  /// The script that octets spell; nil where they spell none.
  init?(_ octets: [UInt8]) {
    guard octets.count >= 2, octets[0] < 32, octets[1] < 16 else { return nil }
    if octets[0] & 1 != 0 { policy.security = .required }
    if octets[0] & 2 != 0 { policy.mailProtocol = .lmtp }
    if octets[0] & 4 != 0 { policy.serverReset = .rset }
    policy.bareLineFeed = octets[0] & 8 != 0 ? .reject : .tolerate
    if octets[0] & 16 != 0 { policy.allowsCleartextAuthentication = true }
    Script.limits(octets[1] & 3, &policy)
    byHand = ByHand(peeks: octets[1] & 4 != 0, drains: octets[1] & 8 != 0)

    var speaker = Side.server
    var arrival = Arrival()
    var rest = octets[2...]
    func arrive(_ events: inout [Event]) {
      if arrival != Arrival() { events.append(.arrives(arrival)) }
      arrival = Arrival()
    }
    while var octet = rest.popFirst() {
      if octet == Mark.said {
        guard let said = rest.popFirst(), Mark.all.contains(said) else { return nil }
        octet = said
      } else if Mark.all.contains(octet) {
        switch octet {
        case Mark.client, Mark.server:
          arrive(&events)
          speaker = octet == Mark.client ? .client : .server
        case Mark.together: speaker = speaker == .client ? .server : .client
        case Mark.clientEnds: arrival.clientEnds = true
        case Mark.serverEnds: arrival.serverEnds = true
        default:
          let index = Int(octet - Mark.firstEvent)
          guard index < Script.marked.count else { return nil }
          arrive(&events)
          events.append(Script.marked[index])
        }
        continue
      }
      if speaker == .client { arrival.client.append(octet) } else { arrival.server.append(octet) }
    }
    arrive(&events)
  }
}

// MARK: - Writing

extension Script {
  /// The octets that spell the script; nil where the form has no word for its policy or for one of its events.
  var octets: [UInt8]? {
    guard let second = limitsNumber else { return nil }
    var first: UInt8 = 0
    if policy.security == .required { first |= 1 }
    if policy.mailProtocol == .lmtp { first |= 2 }
    if policy.serverReset == .rset { first |= 4 }
    if policy.bareLineFeed == .reject { first |= 8 }
    if policy.allowsCleartextAuthentication { first |= 16 }
    var octets = [first, second | (byHand.peeks ? 4 : 0) | (byHand.drains ? 8 : 0)]
    for event in events {
      if case .arrives(let arrival) = event {
        octets.append(arrival.server.isEmpty ? Mark.client : Mark.server)
        octets += Script.said(arrival.server)
        if !arrival.server.isEmpty && !arrival.client.isEmpty { octets.append(Mark.together) }
        octets += Script.said(arrival.client)
        if arrival.clientEnds { octets.append(Mark.clientEnds) }
        if arrival.serverEnds { octets.append(Mark.serverEnds) }
      } else {
        guard let index = Script.marked.firstIndex(of: event) else { return nil }
        octets.append(Mark.firstEvent + UInt8(index))
      }
    }
    return octets
  }

  private var limitsNumber: UInt8? {
    (0..<4).first { number in
      var same = policy
      for (_, path) in Transcript.limits { same[keyPath: path] = Policy()[keyPath: path] }
      Script.limits(number, &same)
      return same == policy
    }
  }

  private static func said(_ octets: [UInt8]) -> [UInt8] {
    octets.flatMap { Mark.all.contains($0) ? [Mark.said, $0] : [$0] }
  }
}
