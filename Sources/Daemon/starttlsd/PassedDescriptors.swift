// PassedDescriptors: what a service manager or a super-server passed to this process: sockets, or one connection.
//
//   LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES   sockets from descriptor 3 on, see sd_listen_fds(3)
//   --inetd                                  one connection: 0 and 1, or with LISTEN_FDS=1 descriptor 3
//
// Contract: `take` is called before anything else is opened, because a number that was not passed could then belong to
// a descriptor of our own. It removes the variables: no other process may interpret them again. A program that was
// given a socket opens no port of its own.
//
// Failure: a ConfigurationError whose text states what to change there.

import Glibc
import ProgramSupport
import Transport

/// The sockets and the connection that were passed. The numbers are adopted later, each once.
struct PassedDescriptors {
  /// A listening socket.
  struct Socket {
    let number: CInt
    /// The service manager's name for it.
    let name: String?
    let address: SocketAddress
  }

  private(set) var sockets: [Socket] = []
  /// The connection to serve, with --inetd.
  private(set) var client: CInt?
  /// True if sockets were passed that are not in `sockets` any more.
  var hasOtherSockets = false
  /// Set in a worker of starttlsd's own supervisor.
  private(set) var worker: WorkerRole?

  /// The first descriptor that sd_listen_fds(3) defines.
  private static let first: CInt = 3
  /// More sockets than any configuration has.
  private static let limit = 256

  /// Takes what was passed.
  ///
  /// - Parameter listen: the addresses of --listen.
  static func take(_ options: ServiceManagerOptions, listen: [String]) throws(ConfigurationError) -> PassedDescriptors {
    let count = try activated()
    let worker = WorkerRole.take(isActivated: count > 0)
    let names = EmbeddedDefault.variable("LISTEN_FDNAMES")?.split(separator: ":", omittingEmptySubsequences: false) ?? []
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
    var passedDescriptors = PassedDescriptors()
    passedDescriptors.worker = worker
    if options.inetd {
      guard listen.isEmpty else { throw .usage("--inetd serves the one connection that it is given: remove --listen") }
      passedDescriptors.client = try connection(count)
      return passedDescriptors
    }
    guard count > 0 else {
      try refuseClient()
      return passedDescriptors
    }
    // Of a worker the supervisor has bound these addresses.
    guard listen.isEmpty || worker != nil else {
      throw .usage("the service manager passed \(count) sockets (LISTEN_FDS): remove --listen, or those sockets")
    }
    for index in 0..<count {
      let name = index < names.count && !names[index].isEmpty ? String(names[index]) : nil
      passedDescriptors.sockets.append(try listening(first + CInt(index), name))
    }
    return passedDescriptors
  }

  /// The number of sockets that were passed to this process.
  private static func activated() throws(ConfigurationError) -> Int {
    guard let process = EmbeddedDefault.variable("LISTEN_PID"), process == "\(getpid())",
      let text = EmbeddedDefault.variable("LISTEN_FDS")
    else { return 0 }
    guard let count = Int(text), count >= 0, count <= limit else {
      throw .usage("LISTEN_FDS is \(text): a service manager may pass at most \(limit) sockets")
    }
    return count
  }

  /// The numbers of the sockets that were passed to this process, before `take`.
  static var numbers: Range<CInt> { first..<first + CInt((try? activated()) ?? 0) }

  private static func listening(_ number: CInt, _ name: String?) throws(ConfigurationError) -> Socket {
    let title = "descriptor \(number)" + (name.map { " (\($0))" } ?? "") + ", passed by the service manager,"
    let kind: InheritedSocket
    let address: SocketAddress?
    do throws(SystemError) {
      kind = try InheritedSocket.kind(of: number)
      address = try InheritedSocket.localAddress(of: number)
    } catch {
      throw .usage("\(title) cannot be used: \(error)")
    }
    switch kind {
    case .listening: break
    case .connected: throw .usage("\(title) is a client's connection: give --inetd, or set Accept=no")
    case .unusable: throw .usage("\(title) is not a listening stream socket: set ListenStream=")
    }
    guard let address else { throw .usage("\(title) is neither a TCP nor a Unix socket") }
    return Socket(number: number, name: name, address: address)
  }

  /// The connection of --inetd.
  private static func connection(_ count: Int) throws(ConfigurationError) -> CInt {
    let number = count > 0 ? first : STDIN_FILENO
    guard count <= 1 else { throw .usage("--inetd serves one connection, but LISTEN_FDS is \(count)") }
    switch try? InheritedSocket.kind(of: number) {
    case .connected: break
    case .listening:
      throw .usage("descriptor \(number) is a listening socket: remove --inetd, or have the service manager or super-server accept (nowait, Accept=yes)")
    case .unusable, nil: throw .usage("--inetd: descriptor \(number) is not a connected stream socket")
    }
    guard number != STDIN_FILENO || isSame(STDIN_FILENO, STDOUT_FILENO) else {
      throw .usage("--inetd: standard output is not the client's connection: pass one socket as 0 and 1")
    }
    return number
  }

  private static func isSame(_ one: CInt, _ other: CInt) -> Bool {
    guard let one = try? Kernel.status(one), let other = try? Kernel.status(other) else { return false }
    return one.st_dev == other.st_dev && one.st_ino == other.st_ino
  }

  /// A client's connection as standard input, without --inetd: the daemon would listen on a port of its own, and the
  /// client would wait without end.
  private static func refuseClient() throws(ConfigurationError) {
    guard let kind = try? InheritedSocket.kind(of: STDIN_FILENO),
      let address = try? InheritedSocket.localAddress(of: STDIN_FILENO), address.port != nil
    else { return }
    switch kind {
    case .connected: throw .usage("standard input is a client's connection: give --inetd")
    case .listening: throw .usage("standard input is a listening socket: pass it with LISTEN_FDS, or have the super-server accept and give --inetd")
    case .unusable: return
    }
  }
}

extension PassedDescriptors {
  /// True if a descriptor was passed as a socket.
  func uses(_ number: CInt) -> Bool {
    number == client || sockets.contains { $0.number == number } || worker.map { [$0.channel, $0.status].contains(number) } ?? false
  }

  /// The client's connection as a descriptor of our own. The standard streams become /dev/null, so that the connection
  /// ends when the session closes it.
  static func takeClient(_ number: CInt) throws(SystemError) -> Connection {
    let taken = Descriptor(adopting: try Kernel.duplicate(number, above: PassedDescriptors.first))
    guard let peer = try taken.peerAddress() else { throw SystemError("getpeername", EAFNOSUPPORT) }
    if number == STDIN_FILENO {
      let null = Descriptor(adopting: try Kernel.open("/dev/null", O_RDWR))
      for stream in [STDIN_FILENO, STDOUT_FILENO] where dup2(null.number, stream) < 0 { throw SystemError.last("dup2") }
    } else {
      Kernel.close(number)
    }
    // The connection may be gone already, or no TCP connection.
    try? taken.sendWithoutDelay()
    return Connection(descriptor: taken, peer: peer)
  }
}
