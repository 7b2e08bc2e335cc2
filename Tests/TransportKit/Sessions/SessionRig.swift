// SessionRig: one whole session in one process and one thread: a real driver on real connections, scripts at their
// other ends, a kernel whose answers a test chooses, and a clock that the rig moves.
//
// Scripts and driver take turns. A turn of the driver's is made when one of its watches is ready, as under poll; when
// nothing can move at all, the clock jumps to the driver's deadline. So every run is quick, and a watch that is missing
// shows as a timer that fires.
//
// What must be true of every run is checked, whatever the kernel answered: the session ends, in a bounded number of
// turns and without spinning; every descriptor is closed, and none that is not the session's; no status flag is set;
// all ends see the end. DialogueChecks.swift checks what was sent.
//
// The rest of it: SessionRig+Turns (who moves when), SessionRig+Kernel (the driver's calls).

import PropertyKit
import Glibc
import SMTPState
import Transport
import TransportTLS

/// Plays one scenario once.
final class SessionRig {
  /// Asked before each call of the driver's, with its position, counted from 1.
  typealias Answer = (_ call: Kernel.Call, _ position: Int) -> Kernel.Fault?

  let scenario: Scenario
  let answer: Answer
  var driver: SessionDriver?
  let host: RigHost
  let client: ScriptedClient
  var helper: ScriptedHelper?
  var bystanders = Bystanders()

  var clientNumber: CInt
  let clientOutput: CInt?
  let clientIdentity: FileIdentity?
  let startFlags: CInt
  var serverNumber: CInt = -1
  /// The driver's ends of the channels to the helper. Noted, since a call is no time to ask.
  var helperNumbers: [CInt] = []

  var now = 1_000
  var calls = 0
  var faultsGiven = 0
  var turns = 0
  /// When the scenario's departure happened.
  var departedAt: Int?

  /// Notes what each call moved; asked whether the session is in charge, so that what it reads it has peeked at.
  let isInSession: ((SessionDriver) -> Bool)?
  var notes: [CallNote] = []
  var before: (waiting: Waiting, isInSession: Bool, isInClear: Bool)?

  static let turnsLimit = 20_000
  private static let signalIsIgnored: Void = { signal(SIGPIPE, SIG_IGN) }()

  /// Makes the connections and starts the scripts.
  init(
    _ scenario: Scenario, credentials: TLSCredentials? = nil, noting isInSession: ((SessionDriver) -> Bool)? = nil,
    _ answer: @escaping Answer
  ) throws {
    self.scenario = scenario
    self.answer = answer
    self.isInSession = isInSession

    let end: FarEnd
    switch scenario.medium {
    case .socketPair, .tcp:
      let (near, far) = scenario.medium == .tcp ? Connections.tcp() : Connections.socketPair()
      if let size = scenario.bufferOctets { Connections.limitBuffers(of: [near, far], to: size) }
      (clientNumber, clientOutput) = (near, nil)
      end = FarEnd(socket: far)
    case .pipes:
      let (toDriver, fromDriver) = (Connections.pipe(), Connections.pipe())
      (clientNumber, clientOutput) = (toDriver.0, fromDriver.1)
      end = FarEnd(reading: fromDriver.0, writing: toDriver.1)
    }
    end.cut = scenario.clientCut
    if scenario.startsNonBlocking { _ = fcntl(clientNumber, F_SETFL, fcntl(clientNumber, F_GETFL) | O_NONBLOCK) }
    clientIdentity = FileIdentity(clientNumber)
    startFlags = fcntl(clientNumber, F_GETFL)

    var channels: UCSPIStream?
    if scenario.host == .helper {
      let control = Connections.socketPair()
      let controlEnd = FarEnd(socket: control.1)
      let dataEnd: FarEnd
      if scenario.channels == .shared {
        helperNumbers = [control.0, control.0, control.0]
        dataEnd = controlEnd
      } else {
        let (toHelper, fromHelper) = (Connections.pipe(), Connections.pipe())
        helperNumbers = [control.0, fromHelper.0, toHelper.1]
        dataEnd = FarEnd(reading: toHelper.0, writing: fromHelper.1)
      }
      let numbers = Dictionary(uniqueKeysWithValues: zip(UCSPIChannels.variables, helperNumbers))
      channels = UCSPIStream(
        try UCSPIChannels { numbers[$0].map { "\($0)" } }, keepsControl: scenario.channels == .kept)
      // A helper has a descriptor of its own for the client's connection. Over two pipes there is no handoff.
      let second = scenario.medium == .pipes ? open("/dev/null", O_RDWR | O_CLOEXEC) : dup(clientNumber)
      helper = ScriptedHelper(control: controlEnd, data: dataEnd, client: FarEnd(socket: second), scenario.helper)
    }
    host = RigHost(scenario, credentials, channels)
    client = ScriptedClient(end, scenario.client) { end -> any ClientTunnel in
      scenario.host == .helper ? PlainTunnel(end) : TLSTunnel(end)
    }
  }

  /// Plays the scenario to its end.
  static func run(
    _ scenario: Scenario, credentials: TLSCredentials? = nil, noting isInSession: ((SessionDriver) -> Bool)? = nil,
    _ answer: @escaping Answer
  ) throws -> (outcome: SessionOutcome, notes: [CallNote]) {
    // As the programs do: a write to a pipe without a reader says so itself.
    _ = signalIsIgnored
    if scenario.medium == .tcp { Connections.tcpIsReady() }
    let open = OpenNumbers()
    let rig = try SessionRig(scenario, credentials: credentials, noting: isInSession, answer)
    let outcome: SessionOutcome
    do {
      defer { rig.close() }
      outcome = try rig.play()
    }
    let left = OpenNumbers()
    guard left == open else { throw Falsified("open before \(open.numbers), after \(left.numbers)\n\(outcome)") }
    return (outcome, rig.notes)
  }

  // MARK: Playing

  private func play() throws -> SessionOutcome {
    Kernel.fault = { [unowned self] call in meet(call) }
    defer { Kernel.fault = nil }
    do throws(SystemError) {
      try start()
    } catch {
      // As the programs: a session that cannot be started is closed.
    }
    if let driver {
      if scenario.isHealthCheck { driver.serveHealthCheck() }
      driver.turn(now: now)
      try followUp(driver)
      try goOn(driver)
      if driver.record.decision == nil || driver.record.end == nil || driver.record.endedAt == nil {
        throw Falsified("the record is not complete\n\(outcome())")
      }
    }
    Kernel.fault = nil
    let record = driver?.record
    driver = nil
    host.release()
    return try conclude(record)
  }

  private func start() throws(SystemError) {
    let input = Descriptor(adopting: clientNumber)
    let client: PlaintextClient
    if let clientOutput {
      client = try PlaintextClient(input: input, output: Descriptor(adopting: clientOutput))
    } else {
      try? input.sendWithoutDelay()
      client = try PlaintextClient(socket: input)
    }
    if scenario.isLearnt {
      driver = SessionDriver(
        policy: scenario.policy, timeouts: SessionDriver.Timeouts(), client: client, learnt: ScriptedServer.learnt, host: host, now: now)
      return
    }
    let server: Descriptor
    do throws(SystemError) {
      server = try host.openServer()
    } catch {
      if scenario.host == .helper { throw error }
      // As the daemon: the client receives 421 from a server that has ended.
      server = try DescriptorPair.sockets().takeFirst()
    }
    serverNumber = server.number
    driver = SessionDriver(
      policy: scenario.policy, timeouts: SessionDriver.Timeouts(), client: client, server: .started(server), host: host, now: now)
  }

  // MARK: The end

  /// The scripts read what is still to be read; then all must have seen the end.
  private func conclude(_ record: SessionRecord?) throws -> SessionOutcome {
    client.end.hasStoppedReading = false
    for server in host.servers { server.hearAgain() }
    // Octets that did not fit into TCP's window follow when the kernel probes it: on a busy machine that may take a second.
    let end = ContinuousClock.now + .seconds(10)
    while true {
      var steps = 0
      while stepScripts() {
        steps += 1
        if steps > SessionRig.turnsLimit { throw Falsified("the scripts find no end\n\(outcome())") }
      }
      guard scenario.medium == .tcp, client.end.isOpen, ContinuousClock.now < end else { break }
      var entries = client.end.numbers.map { pollfd(fd: $0, events: CShort(POLLIN), revents: 0) }
      _ = poll(&entries, nfds_t(entries.count), 100)
    }
    var outcome = outcome()
    outcome.record = record
    if let complaint = host.complaint { throw Falsified("\(complaint)\n\(outcome)") }
    if client.end.isOpen { throw Falsified("the client does not see the end\n\(outcome)") }
    if host.servers.contains(where: \.end.isOpen) { throw Falsified("a server does not see the end\n\(outcome)") }
    if helper?.numbers.isEmpty == false { throw Falsified("the helper does not see the end\n\(outcome)") }
    if !bystanders.areUnharmed { throw Falsified("a descriptor of somebody else was closed\n\(outcome)") }
    return outcome
  }

  func outcome() -> SessionOutcome {
    var outcome = SessionOutcome()
    outcome.clear = client.clear
    outcome.secure = client.secure
    outcome.sentInClear = client.sentInClear
    outcome.sentInside = client.sentInside
    outcome.isSecure = client.tunnel?.isEstablished == true
    outcome.tunnelFailure = client.tunnel?.failure
    outcome.servers = host.servers.map { (received: $0.received, sent: $0.sent) }
    if scenario.isLearnt { outcome.noteLearnt(isStarted: host.servers.first?.index == 0) }
    outcome.helperCommands = helper?.commands ?? []
    outcome.handoffs = host.handoffs
    outcome.aborts = host.aborts
    outcome.record = driver?.record
    outcome.calls = calls
    outcome.faults = faultsGiven
    outcome.turns = turns
    outcome.lastedAfterDeparture = departedAt.map { now - $0 }
    return outcome
  }

  /// Ends what a run that failed has left.
  private func close() {
    Kernel.fault = nil
    driver?.stop()
    driver = nil
    host.release()
    helper?.close()
    client.end.close()
    for server in host.servers { server.end.close() }
    bystanders.close()
  }
}
