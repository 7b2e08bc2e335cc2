// SeparateDescriptors: the network side of a session on two descriptors of any kind.
//
// A program that another one starts gets its connection as standard input and output: one socket on both, two sockets,
// or two pipes. Sockets are read and written as in the daemon, other kinds as OctetStream does. No flag is set.

import CGnuTLS
import Glibc
import Transport

/// The descriptor to read and the descriptor to write.
struct SeparateDescriptors: ~Copyable {
  private var input: OctetStream
  /// nil after the sending half has ended.
  private var output: OctetStream?
  let readsSocket: Bool
  let writesSocket: Bool

  init(_ input: consuming OctetStream, _ output: consuming OctetStream) {
    readsSocket = input.kind == .socket
    writesSocket = output.kind == .socket
    self.input = input
    self.output = consume output
  }

  /// Reads what is available.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    input.read(into: buffer)
  }

  /// The interface of the library's pull function: 0 means the end.
  mutating func pull(_ buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
    switch input.read(into: buffer) {
    case .moved(let count): return count
    case .ended: return 0
    case .wouldBlock: throw SystemError("read", EAGAIN)
    case .failed(let error): throw error
    }
  }

  /// The interface of the library's push function: the number of octets accepted, which may be fewer than requested.
  mutating func push(_ vector: UnsafeMutableBufferPointer<iovec>) throws(SystemError) -> Int {
    guard output != nil else { throw SystemError("write", EPIPE) }
    var written = 0
    for piece in vector where piece.iov_len > 0 {
      switch output?.write(UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)) ?? .ended {
      case .moved(let count):
        written += count
        if count < piece.iov_len { return written }
      case .wouldBlock, .ended:
        if written > 0 { return written }
        throw SystemError("write", EAGAIN)
      case .failed(let error):
        // The accepted octets must be reported first; the error is returned by the next call.
        if written > 0 { return written }
        throw error
      }
    }
    return written
  }

  /// Ends the sending half. A socket stays open for its receiving half; any other kind is closed.
  mutating func endOutput() {
    if writesSocket {
      if let number = output?.descriptor.number { try? Kernel.shutdown(number, CInt(SHUT_WR)) }
    } else {
      output = nil
    }
  }
}
