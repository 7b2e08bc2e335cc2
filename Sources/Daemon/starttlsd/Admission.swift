// Admission: who is served, who is sent away with a 421, and when accepting pauses.
//
// Two limits have to allow a new session: that of sessions, and that of backend processes. A backend counts from its start
// until it is reaped, also when its session has ended long ago. A session that may still come to STARTTLS has a second
// process reserved: a client that was promised TLS must not find the machine full after the handshake.
//
// A client over a limit gets 421 4.3.2 and is closed. The number of these at a time is limited too; beyond that accepting
// pauses, and clients wait in the kernel's queue.

import Transport

struct Admission {
  /// How the next client is treated.
  enum Answer: Equatable {
    case serve
    /// The text says which limit was reached.
    case refuse(String)
    /// It stays in the kernel's queue.
    case wait
  }

  let limits: ResourceLimits
  var sessions = 0
  /// Backend processes.
  var backends = 0
  /// Sessions that may still need another process.
  var reserved = 0
  /// Clients that are being sent away.
  var refusals = 0

  init(_ limits: ResourceLimits) {
    self.limits = limits
  }

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
