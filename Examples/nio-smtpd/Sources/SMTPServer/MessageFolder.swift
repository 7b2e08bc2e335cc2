// MessageFolder: a folder with one file for each message.
//
// Contract: a message is written to a temporary name, synchronized to the disk and renamed; then the folder is synchronized.
// Only then may the server reply 250, because the reply transfers responsibility for the message (RFC 5321, 6.1). These calls
// wait for the disk, so they run on a pool of threads instead of an event loop.
// Failure: the future fails, and no file is left.

import Glibc
public import NIOCore
public import NIOPosix
import Synchronization

public struct MessageFolder: Sendable {
  private let path: String
  private let threads: NIOThreadPool
  private static let count = Atomic<Int>(0)

  public init(path: String, threads: NIOThreadPool) {
    self.path = path
    self.threads = threads
  }

  /// Stores a message. The future succeeds when the message is on the disk.
  public func store(_ message: ByteBuffer, on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
    threads.runIfActive(eventLoop: eventLoop) { try write(message) }
  }

  private func write(_ message: ByteBuffer) throws {
    let number = Self.count.add(1, ordering: .relaxed).newValue
    let name = "\(time(nil)).\(getpid()).\(number)"
    let (draft, final) = ("\(path)/.\(name).part", "\(path)/\(name).eml")
    let file = try check("open", open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600))
    do {
      defer { Glibc.close(file) }
      try message.withUnsafeReadableBytes { octets in
        var rest = octets[...]
        while !rest.isEmpty {
          let part = UnsafeRawBufferPointer(rebasing: rest)
          rest = rest.dropFirst(try check("write", Glibc.write(file, part.baseAddress, part.count)))
        }
      }
      try check("fsync", fsync(file))
      try check("rename", rename(draft, final))
    } catch {
      unlink(draft)
      throw error
    }
    do {
      let folder = try check("open", open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
      defer { Glibc.close(folder) }
      try check("fsync", fsync(folder))
    } catch {
      // The client will send the message again: it must not be stored twice.
      unlink(final)
      throw error
    }
  }

  @discardableResult
  private func check<Number: SignedInteger>(_ call: String, _ result: Number) throws -> Number {
    if result < 0 { throw IOError(errnoCode: errno, reason: call) }
    return result
  }
}
