// Maildir: the folder that messages are delivered to.
//
// A message is written to `tmp` and moved to `new` when it is whole and on disk; readers look at `new` and `cur`. The
// folders are made when the first message comes, private to the owner; the folder that holds the Maildir is not made,
// for its name is more likely a slip.
//
// Failure: a SystemError; nothing is left behind. Files in `tmp` that nobody has touched for 36 hours are left from a
// crash, and are removed as the Maildir convention asks.

internal import CKernel
import Glibc
public import Transport

/// A Maildir, existing or not.
public struct Maildir: Sendable {
  /// The path of the folder that holds `tmp`, `new` and `cur`.
  public let path: String
  /// The host's name, for the names of files.
  public let host: String

  private var deliveries = 0

  /// The Maildir at `path`. Nothing is looked at yet.
  public init(path: String, host: String) {
    self.path = path
    self.host = host
  }

  /// Makes a place for one message.
  ///
  /// - Parameter size: the octets that are announced, if any. If they do not fit on the disk now, the error is ENOSPC.
  public mutating func begin(expecting size: Int?) throws(SystemError) -> Delivery {
    if deliveries == 0 {
      try makeFolders()
      StaleFiles.remove(in: path + "/tmp", now: .now())
    }
    deliveries += 1
    let folder = Descriptor(adopting: try Kernel.open(path + "/new", O_RDONLY | O_DIRECTORY))
    if let size, let room = Maildir.room(folder.number), size > room { throw SystemError("statvfs", ENOSPC) }
    return try Delivery(in: path, named: uniqueName(), to: folder)
  }

  /// `SECONDS.MmicrosecondsPprocessQcountRrandom.host`: unique by its random part alone; the rest is for people.
  private func uniqueName() -> String {
    let now = WallTime.now()
    let random = PlainText.hexadecimal(UInt64.random(in: 0 ... .max), digits: 16)
    return "\(now.seconds).M\(now.microseconds)P\(getpid())Q\(deliveries)R\(random).\(fileHost)"
  }

  /// The host's name as a part of a file's name, which `/` would end, and `:` of which the convention takes for flags.
  private var fileHost: String {
    host.utf8.prefix(64).reduce(into: "") { name, octet in
      switch octet {
      case UInt8(ascii: "/"): name += "\\057"
      case UInt8(ascii: ":"): name += "\\072"
      default: name.unicodeScalars.append(Unicode.Scalar(octet))
      }
    }
  }

  /// Makes what is missing of the folders, durably.
  private func makeFolders() throws(SystemError) {
    var isNew = false
    for folder in [path, path + "/tmp", path + "/new", path + "/cur"] {
      do throws(SystemError) {
        try Kernel.makeFolder(folder, mode: 0o700)
        isNew = true
      } catch {
        guard error.code == EEXIST else { throw error }
      }
    }
    guard isNew else { return }
    for folder in [path, Maildir.parent(of: path)] {
      let descriptor = Descriptor(adopting: try Kernel.open(folder, O_RDONLY | O_DIRECTORY))
      try Kernel.sync(descriptor.number)
    }
  }

  /// The folder that holds `path`.
  static func parent(of path: String) -> String {
    let trimmed = path.reversed().drop { $0 == "/" }
    let above = trimmed.drop { $0 != "/" }
    let folder = above.drop { $0 == "/" }
    guard folder.isEmpty else { return String(folder.reversed()) }
    return above.isEmpty ? (trimmed.isEmpty ? "/" : ".") : "/"
  }

  /// The octets that are free on the file system of a folder; nil if it does not say.
  private static func room(_ folder: CInt) -> Int? {
    var facts = statvfs()
    guard fstatvfs(folder, &facts) == 0, facts.f_blocks > 0 else { return nil }
    let (room, overflows) = UInt64(facts.f_bavail).multipliedReportingOverflow(by: UInt64(facts.f_frsize))
    return overflows ? .max : Int(clamping: room)
  }
}
