// Admission: decides which client is served, which is refused with a 421, and when accepting pauses.
//
// Two limits apply to a new session: the number of sessions and the number of backend processes. A backend counts from
// its start until it is reaped, even if its session has ended long ago. A session that may still reach STARTTLS has a
// second process reserved: after the handshake a client must not fail for lack of a process.
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
  /// The number of sessions that may still need another process.
  var reserved = 0
  /// The number of clients that are being refused.
  var refusals = 0

  init(_ limits: ResourceLimits) {
    self.limits = limits
  }

  /// True if a session can have its processes besides one for learning what the program sends.
  var hasRoomForAnotherProcess: Bool { backends + reserved + 3 <= limits.backends }

  var answer: Answer {
    let reason: String
    if sessions >= limits.sessions {
      reason = "there are \(sessions) sessions (--max-connections)"
    } else if backends + reserved + 2 > limits.backends {
      reason = "there are \(backends) backends, \(reserved) more may be needed (--max-backends)"
    } else {
      return .serve
    }
    return refusals < limits.refusals ? .refuse(reason) : .wait
  }
}
