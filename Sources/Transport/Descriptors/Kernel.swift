// Kernel: all system calls of this layer.
//
// Contract: a call is repeated while it fails with EINTR. It returns its result or throws a SystemError that names the
// call. Nothing else happens here: the callers interpret the results.
//
// Tests replace results through `fault`: it is asked before each call of its thread. It may let the call fail with an
// errno or limit the octets that the call moves. In production there is none; the cost is one comparison per call.

package import CKernel
package import Glibc

package enum Kernel {
  /// The calls, with the names of their manual pages.
  package enum Call: String, CaseIterable, Sendable {
    case recv, send, sendmsg, recvmsg, read, write, preadv2, pwritev2, poll
    case socket, bind, listen, accept4, connect, shutdown, setsockopt, getsockopt, getsockname, getpeername
    case socketpair, pipe2, fcntl, dup3, fstat
    case open, fsync, flock, fchmod, rename, unlink, mkdir
    case posix_spawnp, execve, fork, pidfd_open, pidfd_send_signal, kill, waitid, getrlimit, setrlimit
  }

  /// A result that a test imposes on a call.
  package enum Fault: Sendable {
    /// The call is not made and fails with this `errno`. EINTR is repeated, as with a real call.
    case error(CInt)
    /// The call is made for at most this many octets.
    case short(Int)
  }

  /// Asked before each call of this thread; each thread has its own. Only tests set it; nil in production.
  package static var fault: ((Call) -> Fault?)? {
    @inline(__always) get { kernel_fault().map { FaultSource.at($0).answer } }
    set {
      let old = kernel_fault()
      kernel_set_fault(newValue.map { Unmanaged.passRetained(FaultSource($0)).toOpaque() })
      if let old { Unmanaged<FaultSource>.fromOpaque(old).release() }
    }
  }

  /// The object that the thread's pointer refers to.
  private final class FaultSource {
    let answer: (Call) -> Fault?

    init(_ answer: @escaping (Call) -> Fault?) { self.answer = answer }

    static func at(_ pointer: UnsafeMutableRawPointer) -> FaultSource {
      Unmanaged<FaultSource>.fromOpaque(pointer).takeUnretainedValue()
    }
  }

  /// Makes one call for `count` octets. This is the only place that repeats a call after EINTR.
  @inline(__always)
  static func perform(
    _ call: Call, _ count: Int, _ body: (Int) -> Int
  ) throws(SystemError) -> Int {
    while true {
      var count = count
      if let fault {
        switch fault(call) {
        case .error(let code): if code == EINTR { continue } else { throw SystemError(call.rawValue, code) }
        case .short(let limit): count = min(count, limit)
        case nil: break
        }
      }
      let result = body(count)
      if result >= 0 { return result }
      let code = errno
      if code != EINTR { throw SystemError(call.rawValue, code) }
    }
  }

  /// Makes one call that moves no octets.
  @inline(__always) @discardableResult
  static func perform(_ call: Call, _ body: () -> CInt) throws(SystemError) -> CInt {
    CInt(try perform(call, 0) { _ in Int(body()) })
  }
}

// MARK: - Octets

extension Kernel {
  package static func recv(
    _ number: CInt, _ buffer: UnsafeMutableRawBufferPointer, _ flags: CInt
  ) throws(SystemError) -> Int {
    try perform(.recv, buffer.count) { Glibc.recv(number, buffer.baseAddress, $0, flags) }
  }

  package static func send(
    _ number: CInt, _ buffer: UnsafeRawBufferPointer, _ flags: CInt
  ) throws(SystemError) -> Int {
    try perform(.send, buffer.count) { Glibc.send(number, buffer.baseAddress, $0, flags) }
  }

  /// sendto(2): a datagram to an address.
  package static func send(
    _ number: CInt, _ buffer: UnsafeRawBufferPointer, _ flags: CInt, to address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) throws(SystemError) -> Int {
    try perform(.send, buffer.count) { Glibc.sendto(number, buffer.baseAddress, $0, flags, address, length) }
  }

  /// sendmsg(2) of a vector. With a limit from `fault` only the first element is sent.
  package static func sendmsg(
    _ number: CInt, _ vector: UnsafeMutableBufferPointer<iovec>, _ flags: CInt
  ) throws(SystemError) -> Int {
    try perform(.sendmsg, Int.max) { limit in
      var message = msghdr()
      guard limit != Int.max, let first = vector.first else {
        message.msg_iov = vector.baseAddress
        message.msg_iovlen = vector.count
        return Glibc.sendmsg(number, &message, flags)
      }
      return Glibc.send(number, first.iov_base, min(first.iov_len, limit), flags)
    }
  }

  package static func read(
    _ number: CInt, _ buffer: UnsafeMutableRawBufferPointer
  ) throws(SystemError) -> Int {
    try perform(.read, buffer.count) { Glibc.read(number, buffer.baseAddress, $0) }
  }

  package static func write(_ number: CInt, _ buffer: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    try perform(.write, buffer.count) { Glibc.write(number, buffer.baseAddress, $0) }
  }

  /// preadv2(2) with RWF_NOWAIT.
  package static func readNoWait(
    _ number: CInt, _ buffer: UnsafeMutableRawBufferPointer
  ) throws(SystemError) -> Int {
    try perform(.preadv2, buffer.count) { kernel_read_nowait(number, buffer.baseAddress, $0) }
  }

  /// pwritev2(2) with RWF_NOWAIT.
  package static func writeNoWait(
    _ number: CInt, _ buffer: UnsafeRawBufferPointer
  ) throws(SystemError) -> Int {
    try perform(.pwritev2, buffer.count) { kernel_write_nowait(number, buffer.baseAddress, $0) }
  }

  /// The subset of `events` that is ready on one descriptor now, with POLLHUP, POLLERR and POLLNVAL.
  package static func pollNow(_ number: CInt, _ events: CInt) throws(SystemError) -> CInt {
    var entry = pollfd(fd: number, events: CShort(events), revents: 0)
    try perform(.poll) { Glibc.poll(&entry, 1, 0) }
    return CInt(entry.revents)
  }
}

// MARK: - Sockets and descriptors

extension Kernel {
  /// A new socket, close-on-exec. `flags`: SOCK_NONBLOCK or 0; the description is new, so it may have that flag.
  package static func socket(
    _ family: CInt, _ flags: CInt, type: __socket_type = SOCK_STREAM
  ) throws(SystemError) -> CInt {
    let kind = CInt(type.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | flags
    return try perform(.socket) { Glibc.socket(family, kind, 0) }
  }

  package static func bind(
    _ number: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) throws(SystemError) {
    try perform(.bind) { Glibc.bind(number, address, length) }
  }

  package static func listen(_ number: CInt, _ backlog: CInt) throws(SystemError) {
    try perform(.listen) { Glibc.listen(number, backlog) }
  }

  /// Accepts a connection, close-on-exec and blocking, which is the default of accept4(2).
  package static func accept(
    _ number: CInt, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
  ) throws(SystemError) -> CInt {
    var size = length
    let accepted = try perform(.accept4) {
      size = length
      return kernel_accept4(number, address, &size, CInt(SOCK_CLOEXEC.rawValue))
    }
    length = size
    return accepted
  }

  package static func connect(
    _ number: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) throws(SystemError) {
    try perform(.connect) { Glibc.connect(number, address, length) }
  }

  package static func shutdown(_ number: CInt, _ how: CInt) throws(SystemError) {
    try perform(.shutdown) { Glibc.shutdown(number, how) }
  }

  package static func setOption(
    _ number: CInt, _ level: CInt, _ name: CInt, _ value: CInt
  ) throws(SystemError) {
    var value = value
    try perform(.setsockopt) {
      Glibc.setsockopt(number, level, name, &value, socklen_t(MemoryLayout<CInt>.size))
    }
  }

  package static func option(_ number: CInt, _ level: CInt, _ name: CInt) throws(SystemError) -> CInt {
    var value: CInt = 0
    var size = socklen_t(MemoryLayout<CInt>.size)
    try perform(.getsockopt) { Glibc.getsockopt(number, level, name, &value, &size) }
    return value
  }

  package static func localName(
    _ number: CInt, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
  ) throws(SystemError) {
    var size = length
    try perform(.getsockname) { Glibc.getsockname(number, address, &size) }
    length = size
  }

  package static func peerName(
    _ number: CInt, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
  ) throws(SystemError) {
    var size = length
    try perform(.getpeername) { Glibc.getpeername(number, address, &size) }
    length = size
  }

  /// Two connected Unix stream sockets, close-on-exec.
  package static func socketPair() throws(SystemError) -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    try perform(.socketpair) {
      withUnsafeMutableBytes(of: &ends) {
        Glibc.socketpair(AF_UNIX, kind, 0, $0.baseAddress!.assumingMemoryBound(to: CInt.self))
      }
    }
    return ends
  }

  /// Two connected sockets that keep message boundaries, close-on-exec and blocking.
  package static func messageSockets() throws(SystemError) -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    try perform(.socketpair) {
      withUnsafeMutablePointer(to: &ends) {
        $0.withMemoryRebound(to: CInt.self, capacity: 2) { kernel_message_sockets($0) }
      }
    }
    return ends
  }

  /// sendmsg(2) of one message, with a descriptor unless it is negative.
  package static func sendMessage(
    _ number: CInt, _ octets: [UInt8], _ descriptor: CInt, _ flags: CInt
  ) throws(SystemError) {
    _ = try perform(.sendmsg, octets.count) { count in
      octets.withUnsafeBytes { kernel_send_message(number, $0.baseAddress!, count, descriptor, flags) }
    }
  }

  /// The most octets that a message may have.
  package static let messageLimit = 8192

  /// recvmsg(2) of one message of at most `limit` octets, with its descriptor or -1. A longer one is EMSGSIZE.
  package static func receiveMessage(
    _ number: CInt, limit: Int, _ flags: CInt
  ) throws(SystemError) -> (octets: [UInt8], descriptor: CInt) {
    var descriptor: CInt = -1
    // On the stack: as a block of the heap it would cost more than the call itself.
    var room = InlineArray<8192, UInt8>(repeating: 0)
    let count = try perform(.recvmsg, min(limit, messageLimit)) { count in
      withUnsafeMutableBytes(of: &room) { kernel_receive_message(number, $0.baseAddress!, count, &descriptor, flags) }
    }
    return (withUnsafeBytes(of: &room) { Array($0[..<count]) }, descriptor)
  }

  /// A pipe, close-on-exec: the reading end and the writing end.
  package static func pipe() throws(SystemError) -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    try perform(.pipe2) {
      withUnsafeMutableBytes(of: &ends) {
        kernel_pipe2($0.baseAddress!.assumingMemoryBound(to: CInt.self), O_CLOEXEC)
      }
    }
    return ends
  }

  /// A duplicate whose number is at least `least`, close-on-exec.
  package static func duplicate(_ number: CInt, above least: CInt) throws(SystemError) -> CInt {
    try perform(.fcntl) { kernel_duplicate_above(number, least) }
  }

  /// Makes an open number a duplicate of another one, close-on-exec.
  static func duplicate(_ number: CInt, over replaced: CInt) throws(SystemError) {
    try perform(.dup3) { kernel_duplicate_over(number, replaced) }
  }

  /// fcntl(2) with an integer: F_GETFL, F_SETFL, F_GETFD, F_SETFD. Only Descriptor+ClearNonBlocking.swift uses F_SETFL.
  package static func control(
    _ number: CInt, _ command: CInt, _ value: CInt = 0
  ) throws(SystemError) -> CInt {
    try perform(.fcntl) { Glibc.fcntl(number, command, value) }
  }

  package static func status(_ number: CInt) throws(SystemError) -> stat {
    var information = stat()
    try perform(.fstat) { Glibc.fstat(number, &information) }
    return information
  }

  /// close(2), never repeated: on Linux the number is free after EINTR. EBADF means that other code closed our
  /// descriptor, or that we closed it twice. The next such close could hit another session, so this traps.
  package static func close(_ number: CInt) {
    if Glibc.close(number) != 0, errno == EBADF {
      fatalError("close(\(number)): this descriptor was not ours any more")
    }
  }
}
