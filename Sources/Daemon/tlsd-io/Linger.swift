// Linger: the time between our end and the close.
//
// A socket that is closed with octets unread is reset, and the reset can overtake what was sent last. So what the
// client sends behind our end is read and thrown away, for 2 s and 64 KiB at most, until its own end.

import Glibc
import Transport
import TransportTLS

enum Linger {
  private static let milliseconds = 2000
  private static let limit = 65_536

  /// Reads and throws away. The sending half has ended.
  static func run(_ stream: GnuTLSStream) {
    let deadline = Clock.now() + milliseconds
    var left = limit
    withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 16) { scratch in
      while left > 0 {
        switch stream.discardInput(into: scratch) {
        case .moved(let count): left -= count
        case .wouldBlock:
          guard (try? Waiting.wait(for: stream.descriptor, POLLIN, until: deadline)) == true else { return }
        case .ended, .failed: return
        }
      }
    }
  }
}
