// Gate: what a server program of a test waits for, and what the test waits for, in place of times.
//
// The program says that it has come to the gate and waits there; the test opens it. So a test decides what happens
// before what, however slow the machine is.

import CKernel
import Foundation
import Glibc
import XCTest

/// A named pipe that a program of a test reads a line from. When the value ends, whoever waits at it may go on.
final class Gate {
  /// Where the named pipe is, for programs that are no shell scripts: they read a line from it.
  let path: String
  private let descriptor: TestDescriptor
  /// Kept as long as the gate is.
  private let folder: TestFolder

  /// A gate in a folder.
  init(in folder: TestFolder, _ name: String = "gate") throws {
    self.folder = folder
    path = "\(folder.path)/\(name).\(UUID().uuidString)"
    guard mkfifo(path, 0o600) == 0 else { throw Failure("mkfifo: \(String(cString: strerror(errno)))") }
    // For reading and writing, so that neither side waits in open().
    descriptor = TestDescriptor(Glibc.open(path, O_RDWR | O_CLOEXEC))
  }

  /// The shell's commands at the gate. They may be executed by several processes.
  var pass: String { ": >'\(path).reached'; read go <'\(path)'" }

  /// Waits until somebody is at the gate.
  func isReached() -> Bool { eventually { FileManager.default.fileExists(atPath: path + ".reached") } }

  /// Lets one pass, and waits until it has.
  func open(file: StaticString = #filePath, line: UInt = #line) {
    descriptor.write(Array("go\n".utf8))
    var unread: CInt = 0
    XCTAssertTrue(eventually { ioctl(descriptor.number, UInt(FIONREAD), &unread) == 0 && unread == 0 }, file: file, line: line)
  }
}

extension TestDescriptor {
  /// The ports of a TCP connection over 127.0.0.1: its own and the other side's.
  var ports: (own: UInt16, peer: UInt16) {
    func port(_ call: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt) -> UInt16 {
      var address = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      return withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = call(number, $0, &length) }
        return UInt16(bigEndian: $0.pointee.sin_port)
      }
    }
    return (port { getsockname($0, $1, $2) }, port { getpeername($0, $1, $2) })
  }
}

extension SMTPClient {
  /// How many octets of this client's the other side's program has not read yet, and how many of its own have not
  /// arrived here; nil when the other side's socket is gone.
  private var waiting: (toPeer: Int, fromPeer: Int)? {
    guard let queues = ProcessTable.queues(on: peerPort, from: ownPort) else { return nil }
    var unacknowledged: CInt = 0
    // SIOCOUTQ, a macro that Swift does not see.
    guard ioctl(socket, UInt(TIOCOUTQ), &unacknowledged) == 0 else { return nil }
    return (Int(unacknowledged) + queues.receiving, queues.sending)
  }

  /// Waits until so many octets of this client's wait for the other side's program: with 0, until it has read them all.
  func isUnread(_ count: Int = 0) -> Bool { eventually { waiting?.toPeer == count } }

  /// Waits until the other side has more to send than this client's buffer holds.
  func isStalling() -> Bool { eventually { hasUnread && (waiting?.fromPeer ?? 0) > 0 } }

  /// Sends an octet and waits for what becomes of it: true if the connection is reset, false if it arrives.
  func isReset() -> Bool {
    guard Glibc.send(socket, "x", 1, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) == 1 else { return true }
    var isReset = false
    _ = eventually {
      var entry = pollfd(fd: socket, events: 0, revents: 0)
      isReset = poll(&entry, 1, 0) == 1 && entry.revents & CShort(POLLERR) != 0
      return isReset || waiting?.toPeer == 0
    }
    return isReset || waiting == nil
  }
}
