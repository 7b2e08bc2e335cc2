// SMTPProbe: a client that plays the script of a check.
//
// The client's side of what SMTPState is for a server: no input or output, no clock. Its user carries out commands and
// reports what happened:
//
//   while true {
//     switch probe.next() {
//     case .await(let patience, let step): wait, then call `receive`, `ended`, `expired`, ... once; the deadline counts from the
//                                          first `.await` of that step
//     case .finish(let finding): the end
//     ...                        carry it out; failures of sending are reported as `ended` when something is awaited
//     }
//   }
//
// Contract: total. Every event is accepted at any time; one that nothing awaits is kept, or has no effect. The script has a last
// step, and each event ends at most one expectation, so that a run ends if each wait ends.

package struct SMTPProbe: Sendable {
  /// What has to be done.
  package enum Command: Hashable, Sendable {
    /// Close the connection, if there is one, and open a new one.
    case connect
    case send([UInt8])
    /// Let some time pass, so that the next octets are a segment of their own.
    case pause
    /// Wait for an event. The steps have increasing numbers; one that needs several events is named again.
    case await(Patience, step: Int)
    /// Make a ClientHello and report it with `prepared`.
    case prepareHello(TLSRequest)
    /// Begin the handshake; these octets of the server have arrived already. Continue a prepared one.
    case startTLS(TLSRequest, received: [UInt8])
    /// Report the answer with `examined`.
    case examine(Examination)
    case endSending
    case finish(Finding)
  }

  /// A STARTTLS line and the shortest NOOP line.
  package static let paddingMinimum = 16
  /// The longest line that padding consists of.
  private static let paddingLine = 500

  private let steps: [Step]
  private let values: Values
  private let secrets: Secrets
  private var position = 0
  private var segment: [UInt8] = []
  private var reader = ReplyReader()
  /// Observations that came in another way than as octets, in order.
  private var pending: [Observation] = []
  private var hasEnded = false
  private var isConnected = false
  private var isGreeted = false
  private var isSecured = false
  private var paddingReplies = 0
  private var finding: Finding?
  /// What was sent and received, for people.
  package private(set) var transcript: Transcript

  package init(_ check: Check, _ values: Values) {
    steps = check.steps
    self.values = values
    secrets = values.secrets
    transcript = Transcript(secrets)
  }

  // MARK: Events

  /// Octets of the server: in clear, or deciphered.
  package mutating func receive(_ octets: [UInt8]) {
    transcript.received(octets, isSecured)
    reader.add(octets)
  }

  package mutating func ended() { hasEnded = true }

  /// The time for what is awaited has passed.
  package mutating func expired() { pending.append(.silence) }

  package mutating func established() {
    isSecured = true
    transcript.note("TLS is established")
    pending.append(.established)
  }

  /// The server ended the handshake.
  package mutating func handshakeRefused(_ why: String) { pending.append(.refused(why)) }

  /// The handshake failed on the client's side.
  package mutating func handshakeFailed(_ why: String) { pending.append(.failed(why)) }

  /// Octets that are not TLS came during the handshake.
  package mutating func receivedClear(_ octets: [UInt8]) {
    transcript.received(octets, false)
    pending.append(.clear(octets))
  }

  package mutating func examined(_ word: String, _ text: String) { pending.append(.examined(word, text)) }

  package mutating func prepared(_ hello: [UInt8]) { segment += hello }

  // MARK: Commands

  package mutating func next() -> Command {
    if let finding { return .finish(finding) }
    guard isConnected else {
      isConnected = true
      return .connect
    }
    while finding == nil {
      guard position < steps.count else {
        finding = Finding(.untested, "The script has no verdict.")
        break
      }
      let step = steps[position]
      if let command = flush(before: step) ?? perform(step) { return command }
    }
    return .finish(finding ?? Finding(.untested, "The script has no verdict."))
  }

  /// Sends the segment unless the step adds to it.
  private mutating func flush(before step: Step) -> Command? {
    switch step {
    case .send, .hello, .padding: return nil
    case .flush, .cut, .endSending, .reconnect, .tls, .examine, .expect, .expectPadding, .conclude:
      guard !segment.isEmpty else { return nil }
      defer { segment = [] }
      transcript.sent(segment, isSecured)
      return .send(segment)
    }
  }

  /// Performs a step; nil if it is done without the user.
  private mutating func perform(_ step: Step) -> Command? {
    switch step {
    case .send(let template):
      position += 1
      segment += values.octets(of: template)
      return nil
    case .padding:
      position += 1
      pad()
      return nil
    case .hello:
      position += 1
      return .prepareHello(nextRequest)
    case .flush:
      position += 1
      return nil
    case .cut:
      position += 1
      return .pause
    case .endSending:
      position += 1
      transcript.note("the client ends its sending half")
      return .endSending
    case .reconnect:
      position += 1
      (reader, pending, hasEnded, isGreeted, isSecured, paddingReplies) = (ReplyReader(), [], false, false, false, 0)
      transcript.note("a new connection")
      return .connect
    case .tls(let request): return startTLS(request)
    case .examine(let examination):
      position += 1
      return .examine(examination)
    case .expect(let expectation):
      guard let observation = observe() else { return .await(expectation.patience, step: position) }
      judge(observation, expectation)
      return nil
    case .expectPadding:
      guard paddingReplies > 0 else {
        position += 1
        return nil
      }
      guard let observation = observe() else { return .await(.reply, step: position) }
      paddingReplies -= 1
      switch observation {
      // NOOP with a text may be refused. The 220 is the answer to STARTTLS.
      case .reply(let reply):
        guard reply.code == "220" else { return nil }
        pending.insert(observation, at: 0)
        paddingReplies = 0
      case .ended: finding = Finding(.conforms, "The server refuses the group.", observed: observation.text(hiding: secrets))
      default: finding = Finding(.untested, "The server does not answer NOOP.", observed: observation.text(hiding: secrets))
      }
      return nil
    case .conclude(let finding):
      self.finding = finding
      return nil
    }
  }

  /// The next handshake of the script.
  private var nextRequest: TLSRequest {
    for case .tls(let request) in steps[position...] { return request }
    return TLSRequest()
  }

  private mutating func startTLS(_ request: TLSRequest) -> Command? {
    position += 1
    let received = reader.takeAll()
    if let first = received.first, !(0x14...0x17).contains(first) {
      pending.append(.clear(received))
      return nil
    }
    return .startTLS(request, received: received)
  }

  // MARK: Observations

  /// The next thing that the server did; nil if nothing is known yet.
  private mutating func observe() -> Observation? {
    if !pending.isEmpty, pending[0] != .silence { return pending.removeFirst() }
    if let observation = reader.next() {
      pending = pending.filter { $0 != .silence }
      return observation
    }
    if hasEnded {
      pending = []
      return reader.isEmpty ? .ended : .garbage(reader.takeAll())
    }
    guard !pending.isEmpty else { return nil }
    // Half a reply is more than silence.
    return reader.isEmpty ? pending.removeFirst() : { pending.removeFirst(); return .garbage(reader.takeAll()) }()
  }

  private mutating func judge(_ observation: Observation, _ expectation: Expectation) {
    let isGreeting = !isGreeted
    isGreeted = true
    if expectation.awaited.contains(where: { $0.matches(observation) }) {
      position += 1
      return
    }
    if let arm = expectation.otherwise.first(where: { $0.patterns.contains { $0.matches(observation) } }) {
      var finding = arm.finding
      finding.observed = observation.text(hiding: secrets)
      self.finding = finding
      return
    }
    finding = unexpected(observation, isGreeting)
  }

  /// What an observation means that the script does not mention.
  private func unexpected(_ observation: Observation, _ isGreeting: Bool) -> Finding {
    if isGreeting {
      let text =
        switch observation {
        case .silence: "The server sends no greeting in time."
        default: "The server does not serve this client."
        }
      return Finding(.untested, text, observed: observation.text(hiding: secrets), stops: true)
    }
    if case .garbage = observation {
      return Finding(.deviates, "What the server sends is no reply.", observed: observation.text(hiding: secrets))
    }
    return Finding(.untested, "The server did something else than this check expects.", observed: observation.text(hiding: secrets))
  }

  /// NOOP lines, so that a STARTTLS line after them ends at the octet `values.padding` of the segment.
  private mutating func pad() {
    var rest = values.padding - segment.count - "STARTTLS\r\n".utf8.count
    while rest >= 6 {
      var count = min(rest, SMTPProbe.paddingLine)
      // What remains is a line too, or nothing.
      if rest - count > 0, rest - count < 6 { count -= 6 }
      segment += Array("NOOP".utf8)
      if count > 6 { segment += [0x20] + Array(repeating: UInt8(ascii: "x"), count: count - 7) }
      segment += [0x0D, 0x0A]
      paddingReplies += 1
      rest -= count
    }
  }
}
