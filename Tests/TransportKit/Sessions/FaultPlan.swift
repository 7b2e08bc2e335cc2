// FaultPlan: which call meets which fault.

import Glibc
import Transport

/// One fault at one call, or from that call on.
struct FaultPlan: CustomStringConvertible {
  let name: String
  let fault: Kernel.Fault
  let extent: Extent

  enum Extent: String, CaseIterable {
    case once = "once"
    /// At that call and all further ones of its name: so sending may fail for ever while reading goes on.
    case alike = "from there on at calls like it"
    case lasting = "from there on"
  }

  var description: String { "\(name) \(extent.rawValue)" }

  /// What a call is answered, if the fault belongs to the call `target` at its position.
  func answer(_ call: Kernel.Call, at position: Int, target: Kernel.Call, at first: Int) -> Kernel.Fault? {
    switch extent {
    case .once: position == first ? fault : nil
    case .alike: position >= first && call == target ? fault : nil
    case .lasting: position >= first ? fault : nil
    }
  }

  /// Faults that change nothing: a kernel may answer so at any time.
  func isHarmless(at note: CallNote) -> Bool {
    switch fault {
    case .short: true
    case .error(EINTR): true
    // Octets that were shown are there: only a second reader could take them.
    case .error(EAGAIN): extent == .once && FaultPlan.moving.contains(note.call) && !note.isTake
    case .error: false
    }
  }

  /// Whether it only puts off what the call does.
  var isDelay: Bool { if case .error(EAGAIN) = fault { true } else { false } }

  var isOctetByOctet: Bool { if case .short = fault { extent != .once } else { false } }

  /// Whether it breaks one connection, and no more than that.
  var isBreak: Bool { extent == .once && !isDelay }

  /// The calls that move octets.
  private static let moving: Set<Kernel.Call> = [.recv, .send, .sendmsg, .read, .write, .preadv2, .pwritev2]

  private static let errors: [(String, CInt)] = [
    ("EAGAIN", EAGAIN), ("ECONNRESET", ECONNRESET), ("EPIPE", EPIPE), ("ENOMEM", ENOMEM), ("EMFILE", EMFILE),
  ]

  /// All of them. EINTR does not last: the call would be repeated for ever, as by the kernel.
  static let all: [FaultPlan] =
    [FaultPlan(name: "EINTR", fault: .error(EINTR), extent: .once)]
    + [Extent.once, .lasting].map { FaultPlan(name: "one octet", fault: .short(1), extent: $0) }
    + Extent.allCases.flatMap { extent in
      errors.map { FaultPlan(name: $0.0, fault: .error($0.1), extent: extent) }
    }
}
