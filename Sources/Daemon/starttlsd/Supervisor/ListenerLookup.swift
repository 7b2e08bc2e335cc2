// ListenerLookup: reads the configuration and looks up the names in it, in a process that ends after that.
//
// Its file system, the resolver and the database of users may not answer. The supervisor goes on meanwhile.
//
// Contract: `found` of the supervisor is called once, unless the lookup is cancelled. The process is killed after that, and reaped by
// SIGCHLD. It writes nothing, and sends one message, with a file in memory: the plans as netstrings, or a fault.
// Failure: a ConfigurationError, also if the process ends, or has not answered in time.

import Glibc
import Transport

final class ListenerLookup: EventOwner, TimerOwner {
  /// A resolver whose first server does not answer needs five seconds to try the second one.
  private static let limitMilliseconds = 10_000
  private static let messageLimit = 16

  /// What the answer is for.
  let purpose: Change.Purpose
  private unowned let supervisor: Supervisor
  private let process: ForkedProcess
  private(set) var deadline: Int?
  var scheduled: Int?

  /// Starts it.
  ///
  /// - Parameter plans: what the process does.
  init(
    _ supervisor: Supervisor, _ purpose: Change.Purpose, now: Int, _ plans: () throws(ConfigurationError) -> [ListenerPlan]
  ) throws(ConfigurationError) {
    self.supervisor = supervisor
    self.purpose = purpose
    do throws(SystemError) {
      process = try ForkedProcess("starttlsd-names", keepsErrors: true) { socket in
        // It reads nothing from its connection: if the supervisor is killed, this ends it.
        signal(SIGALRM, SIG_DFL)
        alarm(CUnsignedInt(ListenerLookup.limitMilliseconds / 1000 + 1))
        let text = ListenerLookup.text(plans)
        guard let file = try? StateText.file(text.octets) else { _exit(111) }
        do throws(SystemError) {
          try socket.send([0], descriptor: file.number, isWaiting: true)
        } catch {
          _exit(111)
        }
        _exit(0)
      }
      try supervisor.loop.update(nil, to: Watch(descriptor: process.socket.descriptor.number, events: CShort(POLLIN)), for: self)
    } catch {
      throw .system("cannot start a process: \(error)")
    }
    deadline = now + ListenerLookup.limitMilliseconds
    supervisor.timers.schedule(self)
  }

  /// Ends it. Nothing is reported.
  func cancel() {
    guard deadline != nil else { return }
    deadline = nil
    supervisor.loop.remove(process.socket.descriptor.number)
    process.kill()
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    switch process.socket.receive(limit: ListenerLookup.messageLimit) {
    case .message(var message): end(ListenerLookup.answer(message.descriptor.take()), now: now)
    case .ended: end(.failure(.system("the process that reads the configuration has ended")), now: now)
    case .nothing:
      guard due <= now else { return }
      let seconds = ListenerLookup.limitMilliseconds / 1000
      end(
        .failure(
          .system("no answer in \(seconds) s: the resolver or a file system does not answer: give addresses in numbers, or repair it")),
        now: now)
    }
  }

  private func end(_ answer: Result<[ListenerPlan], ConfigurationError>, now: Int) {
    cancel()
    supervisor.found(answer, purpose, now: now)
  }

  // MARK: The answer

  private static func text(_ plans: () throws(ConfigurationError) -> [ListenerPlan]) -> StateText {
    var text = StateText()
    do throws(ConfigurationError) {
      let plans = try plans()
      text.add(plans.count)
      for plan in plans { plan.add(to: &text) }
    } catch {
      text.add(-1, Int(error.code))
      text.add(error.description)
    }
    return text
  }

  private static func answer(_ file: consuming Descriptor?) -> Result<[ListenerPlan], ConfigurationError> {
    let unreadable = ConfigurationError.system("the answer of the process that reads the configuration cannot be read")
    guard let file, let octets = StateText.contents(file) else { return .failure(unreadable) }
    var text = StateText(octets)
    guard let count = text.number() else { return .failure(unreadable) }
    if count < 0 {
      guard let code = text.number(), let description = text.text() else { return .failure(unreadable) }
      return .failure(ConfigurationError(description: description, code: CInt(code)))
    }
    var plans: [ListenerPlan] = []
    for _ in 0..<count {
      guard let plan = ListenerPlan(&text) else { return .failure(unreadable) }
      plans.append(plan)
    }
    return .success(plans)
  }
}
