// Starter: the process that starts the server program: no session of starttlsd waits for a start, starttlsd itself can be in a
// sandbox that the program does not inherit, and the program can have a user and limits of its own.
//
// It takes no path, no argument and no variable but those of a session: the program, its arguments and the rest of its
// environment are fixed at its start, and so is the number of programs that run at a time: a starttlsd that an attacker controls
// can start no more. It has no more privileges than starttlsd: see `Privileges.becomeStarter`.
//
// Messages to it; the number names a process from its start until it is reaped:
//
//   start     the session's variables, each ended by NUL; with the descriptor that becomes 0 and 1. The first value is 1 to get
//             `started`
//   signal    to the process group of the program; the first value is the signal
//   reap      after `ended`; before that it has no effect: what runs stays counted
//
// Messages of it:
//
//   started   the first value is the process number
//   failed    the first value is the errno; EAGAIN over the limit of programs
//   reaped    the program has ended. The first value is the process number; the second one is the exit code, or the negative
//             number of the signal that ended it
//   ended     the same of one that was signalled: it is not reaped yet, so that its group can be signalled again

import CKernel
import Glibc
import Transport

final class Starter: EventOwner {
  static let start: Int32 = 1
  static let signal: Int32 = 2
  static let reap: Int32 = 3
  static let started: Int32 = 4
  static let failed: Int32 = 5
  static let ended: Int32 = 6
  static let reaped: Int32 = 7

  private let socket: MessageSocket
  private let loop: EventLoop
  private let program: StartedProgram
  /// The limit of descriptors of the programs: the one that starttlsd was started with.
  private let limit: OpenFilesLimit
  private var processes: [UInt32: StarterChild] = [:]
  private let slot: StartSlot
  private var rules: RuleVariables
  /// nil if no more names come.
  private let names: RuleNamesReceiver?

  /// Starts the process.
  ///
  /// - Parameters:
  ///   - descriptors: the number of descriptors that it needs: one for each program, and some more.
  ///   - names: the connection from the process that reads the files, which the new process owns; nil without one.
  static func start(
    _ program: StartedProgram, _ privileges: Privileges, descriptors: UInt, names: CInt?
  ) throws(SystemError) -> ForkedProcess {
    try ForkedProcess("starttlsd-start", keepsErrors: true, keeping: [names].compactMap { $0 }) { socket in
      do {
        let limit = try OpenFilesLimit.current()
        // Before the privileges are given up. If it is too low, `ResourceLimits` allows fewer programs.
        _ = try OpenFilesLimit.raise(to: max(descriptors, limit.hard))
        try privileges.becomeStarter()
        kernel_block_signals()
        let starter = try Starter(socket, program, limit: limit, names: names)
        while true { try starter.loop.wait(until: nil) }
      } catch {
        _exit(111)
      }
    }
  }

  private init(
    _ socket: consuming MessageSocket, _ program: StartedProgram, limit: OpenFilesLimit, names: CInt?
  ) throws(SystemError) {
    self.program = program
    rules = program.rules
    self.names = if let names { RuleNamesReceiver(MessageSocket(Descriptor(adopting: names))) } else { nil }
    self.limit = limit
    slot = try StartSlot()
    loop = try EventLoop()
    let number = socket.descriptor.number
    self.socket = socket
    try loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
  }

  /// Takes one message. The loop reports the socket again if there are more.
  func ready(now: Int) {
    switch socket.receive(limit: HelperMessage.limit) {
    case .nothing: return
    // starttlsd has ended. The programs read the end of their input.
    case .ended: _exit(0)
    case .message(var message):
      guard let known = HelperMessage(message.octets) else { _exit(100) }
      obey(known, message.descriptor.take())
    }
  }

  private func obey(_ message: HelperMessage, _ descriptor: consuming Descriptor?) {
    switch message.kind {
    case Starter.start:
      // The kernel had no descriptor for it here.
      guard let descriptor else { return give(HelperMessage(Starter.failed, number: message.number, first: EMFILE)) }
      start(message, descriptor)
    case Starter.signal: processes[message.number]?.signal(message.first)
    case Starter.reap:
      guard let child = processes[message.number], child.isReported else { return }
      _ = child.reap()
      forget(message.number)
    default: _exit(100)
    }
  }

  private func start(_ message: HelperMessage, _ descriptor: consuming Descriptor) {
    guard processes[message.number] == nil else { _exit(100) }
    do throws(SystemError) {
      guard processes.count < program.limit else { throw SystemError("execve", EAGAIN) }
      guard let variables = variables(of: message) else { throw SystemError("execve", EINVAL) }
      let child = try ChildProcess(
        program.arguments, environment: Environment.adding(variables, to: program.environment), standardStreams: descriptor, limit: limit,
        setting: program.setting, through: slot)
      if message.first == 1 { give(HelperMessage(Starter.started, number: message.number, first: child.process)) }
      let started = StarterChild(child) { [unowned self, number = message.number] in ended(number) }
      processes[message.number] = started
      try started.watch(loop)
    } catch {
      processes[message.number] = nil
      // Before the descriptor is closed: starttlsd reads why before it reads the end.
      give(HelperMessage(Starter.failed, number: message.number, first: error.code))
    }
  }

  /// An event of a process: it may have ended. One that was not signalled is reaped at once: what it may have left goes on.
  private func ended(_ number: UInt32) {
    guard let child = processes[number], !child.isReported, let end = child.isSignalled ? child.look() : child.reap() else { return }
    child.isReported = true
    if !child.isSignalled { forget(number) }
    let value =
      switch end {
      case .exited(let code): code
      case .signalled(let signal): -signal
      }
    give(HelperMessage(child.isSignalled ? Starter.ended : Starter.reaped, number: number, first: child.process, second: value))
  }

  /// A process is reaped. Its descriptor is closed, which ends the registration.
  private func forget(_ number: UInt32) {
    if let child = processes.removeValue(forKey: number) { loop.forget(child.descriptor) }
  }

  /// nil if one of them is not accepted, also not after the names that have arrived.
  private func variables(of message: HelperMessage) -> [String]? {
    if let variables = Environment.session(message.payload, rules: rules) { return variables }
    guard names?.receive(into: &rules) == true else { return nil }
    return Environment.session(message.payload, rules: rules)
  }

  private func give(_ message: HelperMessage) {
    do {
      try socket.send(message.octets ?? [], isWaiting: true)
    } catch {
      _exit(0)
    }
  }
}

/// A program with all that is the same for every session.
struct StartedProgram: Sendable {
  /// The first one is a path, or a name that is searched in PATH at each start.
  let arguments: [String]
  let environment: [String]
  let rules: RuleVariables
  let setting: ProgramSetting
  /// How many processes of it there may be at a time, until they are reaped.
  let limit: Int
}

/// A process of the program.
private final class StarterChild: EventOwner {
  private var child: ChildProcess
  private let changed: () -> Void
  /// True if it was sent a signal.
  private(set) var isSignalled = false
  /// True if its end was reported.
  var isReported = false

  init(_ child: consuming ChildProcess, _ changed: @escaping () -> Void) {
    self.child = child
    self.changed = changed
  }

  /// The process number.
  var process: CInt { child.process }
  /// Readable from the end of the process on.
  var descriptor: CInt { child.descriptor.number }

  /// The end is reported once: the descriptor stays readable.
  func watch(_ loop: EventLoop) throws(SystemError) {
    try loop.update(nil, to: Watch(descriptor: descriptor, events: CShort(POLLIN)), for: self, reportsChanges: true)
  }

  func ready(now: Int) { changed() }

  /// Only the two signals that starttlsd uses.
  func signal(_ number: CInt) {
    guard number == SIGTERM || number == SIGKILL else { return }
    isSignalled = true
    try? child.signalGroup(number)
  }

  /// How it ended, or nil while it runs.
  func look() -> ProcessEnd? { child.look() }

  /// The same. It is reaped.
  func reap() -> ProcessEnd? { (try? child.reap()) ?? nil }
}
