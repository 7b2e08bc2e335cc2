// SocketRepair: what a worker may do to a socket that all share, and what the supervisor does then.
//
// An attacker may control a worker. shutdown(2) ends the listening of the description, for all that have it; without the filter of
// system calls fcntl(2) changes its flags. The supervisor examines its sockets before each start of a worker, and every two seconds.
//
// Failure: a SystemError; the socket is examined again later.

import CKernel
import Glibc
import Transport

extension HeldSocket {
  enum Repair: Hashable {
    case intact
    /// It is the same description, and the workers use it on.
    case repaired
    /// The number leads to another description: workers that have the old one must be started again.
    case replaced
  }

  /// Has it listen, without waiting, as at the start.
  func repair() throws(SystemError) -> Repair {
    var repair = Repair.intact
    let flags = try Kernel.control(descriptor.number, F_GETFL)
    if flags & O_NONBLOCK == 0 {
      _ = try Kernel.control(descriptor.number, F_SETFL, flags | O_NONBLOCK)
      repair = .repaired
    }
    // Accepted sockets inherit it: nothing would be reported of a client that sends less.
    if try Kernel.option(descriptor.number, SOL_SOCKET, SO_RCVLOWAT) > 1 {
      try Kernel.setOption(descriptor.number, SOL_SOCKET, SO_RCVLOWAT, 1)
      repair = .repaired
    }
    if try isListening() { return repair }
    // The kernel gives up a port that it chose itself, and listens on another one.
    if let address, listen(descriptor.number, Self.backlog) == 0, try isListening(), isBound(to: address) { return .repaired }
    guard let address else { throw SystemError("listen", EINVAL) }
    let made: Descriptor
    switch address {
    case .unix(let path): made = try replacedFile(path)
    case .ipv4: made = try Listener(address).takeDescriptor()
    case .ipv6:
      let isIPv6Only = try Kernel.option(descriptor.number, CInt(IPPROTO_IPV6), IPV6_V6ONLY) != 0
      made = try Listener(address, isIPv6Only: isIPv6Only).takeDescriptor()
    }
    guard kernel_duplicate_over(made.number, descriptor.number) >= 0 else { throw SystemError.last("dup3") }
    lockFilter()
    return .replaced
  }

  /// True for another number of a socket that a service manager passed: each listener of a configuration file has a duplicate.
  func isSame(as other: HeldSocket) -> Bool { self !== other && address != nil && address == other.address }

  /// Has this number lead to the socket that replaced the one of both: a later reload and a take-over begin with it.
  func replace(by other: HeldSocket) throws(SystemError) {
    guard kernel_duplicate_over(other.descriptor.number, descriptor.number) >= 0 else { throw SystemError.last("dup3") }
  }

  /// A Unix socket at the same path, with the same owner and mode: one that was shut down refuses all clients for good. One of a service
  /// manager, or one whose file somebody has moved, is not replaced.
  private func replacedFile(_ path: String) throws(SystemError) -> Descriptor {
    guard let file, file.path == path, let owner = file.owner else { throw SystemError("listen", EINVAL) }
    let made = try ReportSocket.listener(.unix(path), owner: nil, mode: owner.mode).takeDescriptor()
    guard listen(made.number, Self.backlog) == 0 else { throw SystemError.last("listen") }
    self.file = SocketFile(bound: path)
    if owner.user != geteuid(), kernel_give_socket(path, owner.user, owner.group) != 0 { throw SystemError.last("chown") }
    return made
  }

  private static let backlog: CInt = 1024

  private func isListening() throws(SystemError) -> Bool {
    guard try Kernel.option(descriptor.number, SOL_SOCKET, SO_ACCEPTCONN) != 0 else { return false }
    // A Unix socket that was shut down still counts as one that listens.
    return CInt(try Kernel.pollNow(descriptor.number, CInt(POLLIN) | CInt(KERNEL_POLLRDHUP))) & (CInt(POLLHUP) | CInt(KERNEL_POLLRDHUP)) == 0
  }

  private func isBound(to address: SocketAddress) -> Bool { (try? descriptor.localAddress()) == address }
}

/// The file of a Unix socket, which is removed with it unless another one has taken its name.
struct SocketFile: Hashable {
  let path: String
  private let device: UInt64
  private let inode: UInt64

  /// The file at a path; nil if there is none.
  init?(bound path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return nil }
    self.path = path
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }

  /// The file of a socket that was bound to this address; nil if it has none.
  init?(of address: SocketAddress) {
    guard case .unix(let path) = address else { return nil }
    self.init(bound: path)
  }

  /// Reads `text`; nil if it is none.
  init?(_ text: String) {
    let words = text.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count == 3, let device = UInt64(words[0]), let inode = UInt64(words[1]) else { return nil }
    self.device = device
    self.inode = inode
    path = String(words[2])
  }

  var text: String { "\(device) \(inode) \(path)" }

  /// The user and the group that it belongs to, and its mode; nil if it has another name now.
  var owner: (user: uid_t, group: gid_t, mode: mode_t)? {
    var status = stat()
    guard SocketFile(bound: path) == self, lstat(path, &status) == 0 else { return nil }
    return (status.st_uid, status.st_gid, status.st_mode & 0o7777)
  }

  func remove() {
    if SocketFile(bound: path) == self { unlink(path) }
  }

  /// Removes the file of a Unix socket at which nobody listens.
  ///
  /// - Throws: EADDRINUSE if somebody listens there, EEXIST if the file is no socket, and the errors of connect(2) and unlink(2).
  static func removeStale(of address: SocketAddress) throws(SystemError) {
    guard case .unix(let path) = address else { return }
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw SystemError("bind", EEXIST) }
    let file = SocketFile(bound: path)
    do throws(SystemError) {
      _ = try address.connect()
    } catch {
      guard error.code == ECONNREFUSED else { throw error }
      // Another one may have replaced it meanwhile.
      if SocketFile(bound: path) == file { try Kernel.unlink(path) }
      return
    }
    throw SystemError("bind", EADDRINUSE)
  }
}
