// SupervisorState: what a supervisor passes to the program that takes over: its listeners, its sockets, its workers.
//
// The new program is executed by the same process, so its number, its children and its descriptors stay. A file in memory, whose
// number is in STARTTLSD_TAKE_OVER, describes them as netstrings (`length:octets,`).
//
// Contract: workers of the new program have offered this form (`offer`) before it is executed.
//
// Failure: a SystemError of execve(2), after which everything is as before. A description in an unknown form is a
// ConfigurationError.

import Glibc
import Transport

struct SupervisorState {
  /// In a worker's READY: the form that its program can read. Another form has another number.
  static let offer = "TAKE_OVER=2"
  private static let variable = "STARTTLSD_TAKE_OVER"
  private static let mark = "starttlsd take-over 2"

  private(set) var passed: [HeldSocket] = []
  private var plans: [Group] = []
  private var old: [Process] = []
  /// The files of Unix sockets that no listener has any more, which are removed once the new program has taken over.
  private(set) var unused: [SocketFile] = []

  var listeners: [ListenerSettings] { plans.map(\.settings) }

  fileprivate struct Group {
    var settings: ListenerSettings
    var sockets: [HeldSocket]
    var metrics: HeldSocket?
    var slots: [Slot]
  }

  fileprivate struct Slot {
    var status: HeldSocket?
    var process: Process
  }

  fileprivate struct Process {
    var number: pid_t
    var channel: CInt
    var title: String
    var stopMilliseconds: Int
    /// True if it had SIGTERM, or stops by itself.
    var isRetiring: Bool
    /// The time until it is killed; -1 if it is not, or was.
    var killMilliseconds: Int
  }

  /// True in a program that takes over.
  static var isPassed: Bool { EmbeddedDefault.variable(variable) != nil }
}

// MARK: - The old program

extension SupervisorState {
  /// Executes the program. It returns only if that fails.
  static func pass(
    _ groups: [WorkerGroup], passed: [HeldSocket], unused: [SocketFile], retiring: [Worker], _ environment: ServiceEnvironment, to path: String, log: LogQueue
  ) throws(SystemError) -> SystemError {
    let now = Clock.now()
    var text = StateText()
    var numbers: [CInt] = []
    let sockets = passed + groups.flatMap(\.held).filter { socket in !passed.contains { $0 === socket } }
    func index(_ socket: HeldSocket?) -> Int { socket.flatMap { wanted in sockets.firstIndex { $0 === wanted } } ?? -1 }
    func add(_ worker: Worker) {
      numbers.append(worker.channel.descriptor.number)
      text.add(Int(worker.process), Int(worker.channel.descriptor.number))
      text.add(worker.title)
      text.add(worker.stopMilliseconds, worker.isRetiring ? 1 : 0, worker.killAt.map { max(0, $0 - now) } ?? -1)
    }
    text.add(mark)
    text.add(Int(getpid()), sockets.count, passed.count)
    for socket in sockets {
      numbers.append(socket.descriptor.number)
      text.add(Int(socket.descriptor.number))
      text.add(socket.key, socket.name, socket.file?.text ?? "")
    }
    text.add(groups.count)
    for group in groups {
      group.settings.add(to: &text)
      text.add(group.sockets.count)
      for socket in group.sockets { text.add(index(socket)) }
      text.add(index(group.metrics))
      for slot in group.slots {
        text.add(index(slot.status))
        // All have one: all are ready.
        if let worker = slot.worker { add(worker) }
      }
    }
    text.add(retiring.count)
    for worker in retiring { add(worker) }
    // Programs that do not know these read nothing after the workers.
    text.add(unused.count)
    for file in unused { text.add(file.text) }
    let file = try StateText.file(text.octets)
    numbers.append(file.number)
    log.finish()
    try inherit(numbers, true)
    environment.set(true)
    setenv(variable, "\(file.number)", 1)
    execv(path, CommandLine.unsafeArgv)
    let error = SystemError.last("execve")
    unsetenv(variable)
    environment.set(false)
    try inherit(numbers, false)
    return error
  }

  private static func inherit(_ numbers: [CInt], _ on: Bool) throws(SystemError) {
    for number in numbers { _ = try Kernel.control(number, F_SETFD, on ? 0 : FD_CLOEXEC) }
  }
}

// MARK: - The new program

extension SupervisorState {
  /// Takes what was passed; nil if this program is started, not executed by a supervisor.
  static func take() throws(ConfigurationError) -> SupervisorState? {
    guard let value = EmbeddedDefault.variable(variable) else { return nil }
    unsetenv(variable)
    guard let number = CInt(value), number > 2, let octets = StateText.contents(Descriptor(adopting: number)) else {
      throw .usage("\(variable) is for starttlsd itself: remove it from the environment")
    }
    var text = StateText(octets)
    guard text.text() == mark, text.number() == Int(getpid()), let state = SupervisorState(&text) else {
      throw .system("what the previous program passed cannot be read: start starttlsd again")
    }
    return state
  }

  private init?(_ text: inout StateText) {
    var sockets: [HeldSocket] = []
    guard let count = text.number(), let passedCount = text.number(), passedCount <= count else { return nil }
    for _ in 0..<count {
      guard let descriptor = text.descriptor(), let key = text.text(), let name = text.text(), let file = text.text() else { return nil }
      sockets.append(HeldSocket(Descriptor(adopting: descriptor), key: key, name: name, file: SocketFile(file)))
    }
    passed = Array(sockets[..<passedCount])
    func socket(_ index: Int) -> HeldSocket? { sockets.indices.contains(index) ? sockets[index] : nil }
    guard let groups = text.number() else { return nil }
    for _ in 0..<groups {
      guard let settings = ListenerSettings(&text), let count = text.number() else { return nil }
      let own = (0..<count).compactMap { _ in text.number().flatMap(socket) }
      guard own.count == count, let metrics = text.number() else { return nil }
      var slots: [Slot] = []
      for _ in 0..<settings.workers {
        guard let status = text.number(), let process = Process(&text) else { return nil }
        slots.append(Slot(status: socket(status), process: process))
      }
      plans.append(Group(settings: settings, sockets: own, metrics: socket(metrics), slots: slots))
    }
    guard let retiring = text.number() else { return nil }
    for _ in 0..<retiring {
      guard let process = Process(&text) else { return nil }
      old.append(process)
    }
    // None if the program before did not pass them.
    for _ in 0..<(text.number() ?? 0) {
      guard let file = text.text().flatMap({ SocketFile($0) }) else { return nil }
      unused.append(file)
    }
  }

  /// The listeners with their workers.
  func groups(_ supervisor: Supervisor, now: Int) throws(SystemError) -> [WorkerGroup] {
    try plans.map { plan throws(SystemError) in
      let stop = plan.slots.first?.process.stopMilliseconds ?? 0
      let serving = ListenerPlan(serving: plan.settings, stopMilliseconds: stop)
      let group = WorkerGroup(serving, plan.sockets, metrics: plan.metrics, program: WorkerStart.ownProgram)
      for (index, slot) in plan.slots.enumerated() {
        let made = WorkerSlot(index + 1, status: slot.status)
        made.worker = try slot.process.worker(supervisor, now: now)
        group.add(made)
      }
      return group
    }
  }

  /// The workers of the old program.
  func old(_ supervisor: Supervisor, now: Int) throws(SystemError) -> [Worker] {
    try old.map { process throws(SystemError) in try process.worker(supervisor, now: now) }
  }
}

extension SupervisorState.Process {
  fileprivate init?(_ text: inout StateText) {
    guard let process = text.number(), process > 1, let channel = text.descriptor(), let title = text.text(), let time = text.number(),
      let retiring = text.number(), let kill = text.number()
    else { return nil }
    self.init(
      number: pid_t(process), channel: channel, title: title, stopMilliseconds: time, isRetiring: retiring == 1, killMilliseconds: kill)
  }

  fileprivate func worker(_ supervisor: Supervisor, now: Int) throws(SystemError) -> Worker {
    let worker = try Worker(
      supervisor, number, title, channel: SharedDescriptor(Descriptor(adopting: channel)), stopMilliseconds: stopMilliseconds,
      readyAt: now, now: now)
    worker.isRetiring = isRetiring
    worker.killAt = killMilliseconds < 0 ? nil : now + killMilliseconds
    return worker
  }
}
