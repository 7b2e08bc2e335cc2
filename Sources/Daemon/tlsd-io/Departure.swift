// Departure: detects during the handshake that the server program is gone.
//
// It is gone if it has closed what it reads and has ended its output without an octet for the client. Each of the two
// alone is permitted. poll reports both unrequested and repeatedly, so first one is watched, then the other, then none.

import CKernel
import Glibc
import Transport

/// What is known about the server program during the handshake.
struct Departure {
  /// The entry for poll.
  private(set) var entry: pollfd
  /// True if the server program is gone.
  private(set) var isOver = false
  private let input: CInt

  init(of program: borrowing ProgramSide) {
    entry = pollfd(fd: program.outputNumber, events: 0, revents: 0)
    input = program.inputNumber
  }

  /// poll has reported an event of the entry.
  mutating func notice() throws(SystemError) {
    if entry.fd == input {
      isOver = try Kernel.pollNow(input, CInt(POLLIN)) & CInt(POLLIN) == 0
      entry.fd = -1
    } else {
      entry.fd = input
    }
  }
}
