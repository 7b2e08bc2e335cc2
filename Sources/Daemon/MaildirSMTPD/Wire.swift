// Wire: the client's connection on descriptors 0 and 1 of any kind.
//
// Reads wait for octets, a deadline or a signal; writes wait for room, a deadline or a signal. No status flag is ever
// set, because the description may be shared.
//
// Failure: reported in the outcome. It distinguishes a client that is gone from a descriptor that cannot be used: the
// first is caused by the client, the second by this system.

import Glibc
import Transport

/// Both directions of one client's connection.
struct Wire: ~Copyable {
  /// The result of a read or a write.
  enum Outcome: Hashable, Sendable {
    /// The number of octets moved; for a write, all of them.
    case moved(Int)
    /// The client has ended its side. Only a read returns it.
    case ended
    /// The deadline passed.
    case expired
    /// A signal requests the program to stop.
    case stopped(CInt)
    /// The connection is broken.
    case gone(SystemError)
    /// The descriptor cannot be read or written.
    case failed(SystemError)
  }

  private var input: OctetStream
  private var output: OctetStream
  private let signals: StopSignals

  /// Takes ownership of two open descriptors; both may be the same socket.
  init(input: CInt, output: CInt, signals: consuming StopSignals) throws(SystemError) {
    let from = try OctetStream(Descriptor(adopting: input))
    let to = try OctetStream(Descriptor(adopting: output))
    self.input = from
    self.output = to
    self.signals = signals
  }

  /// Reads what is available; waits for at least one octet.
  mutating func read(into buffer: inout [UInt8], by deadline: Deadline) -> Outcome {
    while true {
      if let outcome = wait(for: CInt(POLLIN), on: input.descriptor.number, by: deadline) { return outcome }
      switch buffer.withUnsafeMutableBytes({ input.read(into: $0) }) {
      case .moved(let count): return .moved(count)
      case .ended: return .ended
      case .wouldBlock: continue
      case .failed(let error): return Wire.judge(error)
      }
    }
  }

  /// Writes everything.
  mutating func write(_ octets: [UInt8], by deadline: Deadline) -> Outcome {
    var rest = octets[...]
    while !rest.isEmpty {
      switch rest.withUnsafeBytes({ output.write($0) }) {
      case .moved(let count): rest = rest.dropFirst(count)
      case .wouldBlock, .ended:
        if let outcome = wait(for: CInt(POLLOUT), on: output.descriptor.number, by: deadline) { return outcome }
      case .failed(let error): return Wire.judge(error)
      }
    }
    return .moved(octets.count)
  }

  /// Lets the client read the last reply. A socket closed with unread octets resets the connection, and the client
  /// could lose the reply. Ends the sending half and reads on, for a limited time and a limited number of octets.
  ///
  /// - Parameter isNeeded: true to do so even if nothing is unread now.
  mutating func linger(isNeeded: Bool, by deadline: Deadline) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    guard input.canPeek, output.canPeek else { return }
    if !isNeeded {
      guard case .moved = buffer.withUnsafeMutableBytes({ input.peek(into: $0) }) else { return }
    }
    try? output.descriptor.shutdownSending()
    var left = 65_536
    while left > 0, case .moved(let count) = read(into: &buffer, by: deadline) { left -= count }
  }

  /// nil if the descriptor is ready.
  private borrowing func wait(for events: CInt, on number: CInt, by deadline: Deadline) -> Outcome? {
    var entries = [
      pollfd(fd: number, events: CShort(events), revents: 0),
      pollfd(fd: signals.descriptor.number, events: CShort(POLLIN), revents: 0),
    ]
    while true {
      let ready = poll(&entries, 2, deadline.remainingMilliseconds)
      if ready == 0 { return .expired }
      if ready < 0 {
        if errno == EINTR { continue }
        return .failed(SystemError.last("poll"))
      }
      if entries[1].revents != 0, let number = signals.next() { return .stopped(number) }
      if entries[0].revents != 0 { return nil }
    }
  }

  private static func judge(_ error: SystemError) -> Outcome {
    switch error.code {
    case EPIPE, ECONNRESET, ETIMEDOUT, ENOTCONN, EHOSTUNREACH, ENETUNREACH, ENETDOWN: .gone(error)
    default: .failed(error)
    }
  }
}
