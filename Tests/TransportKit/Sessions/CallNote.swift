// CallNote: whose octets a call of the driver's moved, found out from outside: by what waits in the kernel on each
// connection before it and after it.

import Glibc
import Transport

/// One call of the driver's.
struct CallNote {
  var call: Kernel.Call
  /// On whose connection it moved octets; nil if it moved none.
  var subject: Subject?
  /// Whether it took octets that a peek had shown.
  var isTake = false

  enum Subject: Equatable {
    case client, server, helper
  }
}

/// How many octets wait at both ends of each connection.
struct Waiting {
  /// By descriptor: at the driver's end, at the script's.
  var near: [Int]
  var far: [Int]

  static let subjects: [CallNote.Subject] = [.client, .server, .helper, .helper]

  init(near: [CInt?], far: [CInt?]) {
    self.near = near.map(Waiting.count)
    self.far = far.map(Waiting.count)
  }

  private static func count(_ number: CInt?) -> Int {
    var count: CInt = 0
    guard let number, number >= 0, ioctl(number, UInt(FIONREAD), &count) == 0 else { return 0 }
    return Int(count)
  }

  /// On whose connection octets were read, or written, since then.
  func subject(since earlier: Waiting) -> (subject: CallNote.Subject, isRead: Bool)? {
    for index in near.indices {
      if near[index] < earlier.near[index] { return (Waiting.subjects[index], true) }
      if far[index] > earlier.far[index] { return (Waiting.subjects[index], false) }
    }
    return nil
  }
}
