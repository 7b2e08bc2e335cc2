// Sockets: peek, take, read, send and shut down, without waiting and without a status flag.
//
// Each call says for itself that it does not wait (MSG_DONTWAIT) and raises no signal (MSG_NOSIGNAL), so the
// description's O_NONBLOCK neither matters nor changes. A shared socket is read in two steps: peek, decide, and take
// exactly what was decided on; what belongs to the TLS engine thus never leaves the kernel.

import Glibc

extension Descriptor {
  /// Looks at the octets that wait in the socket and leaves them there.
  ///
  /// - Returns: `.moved` with the number of octets shown, at most the buffer's size.
  public borrowing func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(number, buffer, CInt(MSG_PEEK | MSG_DONTWAIT))
    }
  }

  /// Takes exactly `count` octets that a peek has shown.
  ///
  /// - Throws: a `SystemError` of recv when fewer are there. EAGAIN then means that another process reads the same
  ///   socket; ECONNRESET that the connection is gone; ENODATA that its end came before the octets. Some of the
  ///   octets may have been taken: give the connection up.
  public borrowing func take(
    exactly count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws(SystemError) {
    guard count <= buffer.count else { throw SystemError("recv", EINVAL) }
    var taken = 0
    while taken < count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[taken..<count])
      let moved = try Kernel.recv(number, rest, CInt(MSG_DONTWAIT))
      if moved == 0 { throw SystemError("recv", ENODATA) }
      taken += moved
    }
  }

  /// Reads what there is, at most the buffer's size, from a socket.
  public borrowing func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(number, buffer, CInt(MSG_DONTWAIT))
    }
  }

  /// Gives octets to the socket; the kernel may take fewer. A peer that is gone is `.failed` (EPIPE, ECONNRESET).
  public borrowing func send(_ octets: UnsafeRawBufferPointer) -> IOResult {
    IOResult(writing: octets.count) { () throws(SystemError) in
      try Kernel.send(number, octets, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
  }

  /// Ends the sending half: the peer reads an end of file behind what was sent.
  ///
  /// - Throws: ENOTCONN when the connection is gone already, which a caller that is closing ignores.
  public borrowing func shutdownSending() throws(SystemError) {
    try Kernel.shutdown(number, CInt(SHUT_WR))
  }

  /// Sends small writes at once (TCP_NODELAY). Not for sockets other than TCP: EOPNOTSUPP.
  public borrowing func sendWithoutDelay() throws(SystemError) {
    try Kernel.setOption(number, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
  }

  /// What became of a connection that was started without waiting: nil when it stands, once poll says writable.
  public borrowing func connectionError() throws(SystemError) -> SystemError? {
    let code = try Kernel.option(number, SOL_SOCKET, SO_ERROR)
    return code == 0 ? nil : SystemError("connect", code)
  }
}

extension IOResult {
  /// The answer of a call that reads: 0 is the end of file, unless nothing was asked for.
  @inline(__always)
  package init(reading count: Int, _ call: () throws(SystemError) -> Int) {
    guard count > 0 else {
      self = .failed(SystemError("read", EINVAL))
      return
    }
    do {
      let moved = try call()
      self = moved == 0 ? .ended : .moved(moved)
    } catch {
      self = error.code == EAGAIN ? .wouldBlock : .failed(error)
    }
  }

  /// The answer of a call that writes. Nothing to write is `.moved(0)` without a call.
  @inline(__always)
  package init(writing count: Int, _ call: () throws(SystemError) -> Int) {
    guard count > 0 else {
      self = .moved(0)
      return
    }
    do {
      self = .moved(try call())
    } catch {
      self = error.code == EAGAIN ? .wouldBlock : .failed(error)
    }
  }
}
