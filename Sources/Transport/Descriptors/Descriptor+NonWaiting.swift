// Sockets: peek, take, read, send and shut down, without waiting and without a status flag.
//
// Each call requests not to wait (MSG_DONTWAIT) and to raise no signal (MSG_NOSIGNAL), so the description's O_NONBLOCK
// neither matters nor changes. A shared socket is read in two steps: peek, decide, then take exactly the octets decided
// on. Octets that belong to the TLS engine thus stay in the kernel.

import Glibc

extension Descriptor {
  /// Peeks at the octets that wait in the socket and leaves them there.
  ///
  /// - Returns: `.moved` with the number of octets shown, at most the buffer's size.
  public borrowing func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(number, buffer, CInt(MSG_PEEK | MSG_DONTWAIT))
    }
  }

  /// Drops an urgent octet (MSG_OOB) of a Unix socket, if it comes next; takes nothing else.
  ///
  /// Call it after a peek that has shown nothing, before waiting for input: a peek leaves such an octet in place, and poll would report
  /// it without end. TCP has no such wait.
  ///
  /// - Throws: an error of the connection that came after the peek. The kernel reports it once: the next call would see an ordinary end.
  package borrowing func dropUrgentOctet() throws(SystemError) {
    do {
      // A read of no octets drops it.
      _ = try Kernel.recv(number, UnsafeMutableRawBufferPointer(start: nil, count: 0), CInt(MSG_DONTWAIT))
    } catch {
      if error.code != EAGAIN { throw error }
    }
  }

  /// Takes exactly `count` octets that a peek has shown.
  ///
  /// - Throws: a `SystemError` of recv if fewer octets are there. EAGAIN means that another process reads the same
  ///   socket; ECONNRESET that the connection is gone; ENODATA that its end came before the octets. Some of the octets
  ///   may have been taken: close the connection.
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

  /// Reads what is available from a socket, at most the buffer's size.
  public borrowing func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(number, buffer, CInt(MSG_DONTWAIT))
    }
  }

  /// Sends octets; the kernel may accept fewer. If the peer is gone, the result is `.failed` (EPIPE, ECONNRESET).
  public borrowing func send(_ octets: UnsafeRawBufferPointer) -> IOResult {
    IOResult(writing: octets.count) { () throws(SystemError) in
      try Kernel.send(number, octets, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
  }

  /// Ends the sending half: the peer reads an end of file after the octets sent.
  ///
  /// - Throws: ENOTCONN if the connection is already gone; a caller that closes ignores this.
  public borrowing func shutdownSending() throws(SystemError) {
    try Kernel.shutdown(number, CInt(SHUT_WR))
  }

  /// Disables the delay of small writes (TCP_NODELAY). Sockets other than TCP fail with EOPNOTSUPP.
  package borrowing func sendWithoutDelay() throws(SystemError) {
    try Kernel.setOption(number, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
  }

  /// The result of a connection that was started without waiting: nil if it is established. Read it once poll reports
  /// writable.
  package borrowing func connectionError() throws(SystemError) -> SystemError? {
    let code = try Kernel.option(number, SOL_SOCKET, SO_ERROR)
    return code == 0 ? nil : SystemError("connect", code)
  }
}

extension IOResult {
  /// The result of a call that reads: 0 means end of file, unless zero octets were requested.
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

  /// The result of a call that writes. With nothing to write it is `.moved(0)` and no call is made.
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
