// Admission: decides which client is served, which is refused with a 421, and when accepting pauses.
//
// Three limits apply to a new session: those of sessions, of backend processes, and of descriptors. A backend counts from
// its start until it is reaped, even if its session has ended long ago. A session that may still reach STARTTLS has a
// second process reserved, with its descriptor: after the handshake a client must not fail for lack of one.
//
// A client over a limit gets 421 4.3.2 and is closed. The number of clients in this state is limited too. Beyond that
// limit accepting pauses, and clients wait in the kernel's queue.

import Transport

struct Admission {
  /// The treatment of the next client.
  enum Answer: Equatable {
    case serve
    /// The text names the limit that was reached.
    case refuse(String)
    /// The client stays in the kernel's queue.
    case wait
  }

  let limits: ResourceLimits
  var sessions = 0
  /// Backend processes.
  var backends = 0
  /// Those among them that wait for a session (--spare-backends): a session takes one in place of a start.
  var spares = 0
  /// The number of sessions that may still need another process.
  var reserved = 0
  /// The number of clients that are being refused.
  var refusals = 0
  /// The descriptors in messages that wait for another process of ours.
  var queued = 0

  init(_ limits: ResourceLimits) {
    self.limits = limits
  }

  /// The descriptors that sessions and backends have, or have reserved.
  private var descriptors: Int { 2 * sessions + queued + limits.ofProcess * (backends + reserved) }

  /// True if a session can have its processes besides one for learning what the program sends.
  var hasRoomForAnotherProcess: Bool {
    backends + reserved + 3 <= limits.backends && descriptors + 2 + 3 * limits.ofProcess <= limits.descriptors
  }

  var answer: Answer {
    let reason: String
    if sessions >= limits.sessions {
      reason = "there are \(sessions) sessions (--max-connections)"
    } else if backends - spares + reserved + 2 > limits.backends {
      reason = "there are \(backends) backends, \(reserved) more may be needed (--max-backends)"
    } else if descriptors + 2 + 2 * limits.ofProcess > limits.descriptors {
      reason = "\(descriptors) of \(limits.descriptors) descriptors are in use or reserved (ulimit -Hn)"
    } else {
      return .serve
    }
    return refusals < limits.refusals ? .refuse(reason) : .wait
  }
}
