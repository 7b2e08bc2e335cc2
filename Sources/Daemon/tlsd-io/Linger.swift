// Linger: the time between our end and the close.
//
// A socket that is closed with unread octets sends a reset, and the reset can overtake the last octets sent. So the
// client's input after our end is read and discarded until its end, for at most 2 s and 64 KiB.

import Glibc
import Transport
import TransportTLS

enum Linger {
  private static let milliseconds = 2000
  private static let limit = 65_536

  /// Reads and discards. The sending half has ended.
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
