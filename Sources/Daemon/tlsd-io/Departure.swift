// Departure: noticing, while hands are shaken, that nobody is left to whom the session could matter.
//
// The server program is gone when it reads no more and has ended without an octet for the client. Each of the two alone
// is allowed. poll tells of both without being asked, and again and again: so one is watched, then the other, then none.

import CKernel
import Glibc
import Transport

/// What is known of the server program during the handshake.
struct Departure {
  /// For poll.
  private(set) var entry: pollfd
  /// Whether the server program is gone.
  private(set) var isOver = false
  private let input: CInt

  init(of program: borrowing ProgramSide) {
    entry = pollfd(fd: program.outputNumber, events: 0, revents: 0)
    input = program.inputNumber
  }

  /// poll has told something of the entry.
  mutating func notice() throws(SystemError) {
    if entry.fd == input {
      isOver = try Kernel.pollNow(input, CInt(POLLIN)) & CInt(POLLIN) == 0
      entry.fd = -1
    } else {
      entry.fd = input
    }
  }
}
