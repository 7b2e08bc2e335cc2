// Maildir: the folder that messages are delivered to.
//
// A message is written to `tmp` and moved to `new` after it is complete and on disk; mail readers read `new` and `cur`.
// The folders are created with the first message, accessible to the owner only. The parent of the Maildir is not
// created, because a missing parent probably means a wrong path.
//
// A folder is synchronised after something was created in it. Nothing is created in a folder that cannot be synchronised, so what exists
// there needs no such step of a user who may not read the folder.
//
// Failure: a SystemError; no file remains. A killed process may leave a file in `tmp`. Nobody reads it; the tools of a real
// Maildir remove such files once they are 36 hours old.

internal import CKernel
import Glibc
public import Transport

/// A Maildir, existing or not.
public struct Maildir: Sendable {
  /// The path of the folder that holds `tmp`, `new` and `cur`.
  public let path: String
  /// The host name, for file names.
  public let host: String

  private var deliveries = 0

  /// Creates a value for the Maildir at `path`. No file is accessed yet.
  public init(path: String, host: String) {
    self.path = path
    self.host = host
  }

  /// Creates the storage for one message.
  ///
  /// - Parameter size: the stated number of octets, if any. If they do not fit on the disk now, the error is ENOSPC.
  public mutating func begin(expecting size: Int?) throws(SystemError) -> Delivery {
    if deliveries == 0 { try makeFolders() }
    deliveries += 1
    let folder = Descriptor(adopting: try Kernel.open(path + "/new", O_RDONLY | O_DIRECTORY))
    if let size, let room = Maildir.room(folder.number), size > room { throw SystemError("statvfs", ENOSPC) }
    return try Delivery(in: path, named: uniqueName(), to: folder)
  }

  /// `SECONDS.MmicrosecondsPprocessQcountRrandom.host`: the random part alone makes it unique; the rest is for people.
  private func uniqueName() -> String {
    let now = WallTime.now()
    let random = PlainText.hexadecimal(UInt64.random(in: 0 ... .max), digits: 16)
    return "\(now.seconds).M\(now.microseconds)P\(getpid())Q\(deliveries)R\(random).\(fileHost)"
  }

  /// The host name as part of a file name. `/` and `:` are replaced: a path separator, and the start of the flags in
  /// the Maildir convention.
  private var fileHost: String {
    host.utf8.prefix(64).reduce(into: "") { name, octet in
      switch octet {
      case UInt8(ascii: "/"): name += "\\057"
      case UInt8(ascii: ":"): name += "\\072"
      default: name.unicodeScalars.append(Unicode.Scalar(octet))
      }
    }
  }

  /// Creates the missing folders and synchronises all of them to disk: another process may have created them just now, or have failed
  /// before it synchronised them.
  private func makeFolders() throws(SystemError) {
    try make([path], in: Maildir.parent(of: path))
    try make([path + "/tmp", path + "/new", path + "/cur"], in: path)
  }

  /// Creates what is missing of `folders`, and synchronises `parent`.
  private func make(_ folders: [String], in parent: String) throws(SystemError) {
    let missing = folders.filter { !Maildir.exists($0) }
    do throws(SystemError) {
      let descriptor = try Maildir.synchronised(parent)
      for folder in missing { try Maildir.create(folder) }
      if !missing.isEmpty { try Maildir.synchronise(descriptor, parent) }
    } catch {
      // A folder that this user may not read, or that cannot be synchronised, as one of autofs: whoever created the folders in it was
      // able to synchronise it.
      guard missing.isEmpty, error.code == EACCES || error.code == EINVAL else { throw error }
    }
  }

  /// Opens a folder and synchronises it.
  private static func synchronised(_ folder: String) throws(SystemError) -> Descriptor {
    let descriptor: Descriptor
    do throws(SystemError) {
      descriptor = Descriptor(adopting: try Kernel.open(folder, O_RDONLY | O_DIRECTORY))
    } catch {
      throw error.about(folder)
    }
    try synchronise(descriptor, folder)
    return descriptor
  }

  private static func synchronise(_ descriptor: borrowing Descriptor, _ folder: String) throws(SystemError) {
    do throws(SystemError) {
      try Kernel.sync(descriptor.number)
    } catch {
      throw error.about(folder)
    }
  }

  private static func create(_ folder: String) throws(SystemError) {
    do throws(SystemError) {
      try Kernel.makeFolder(folder, mode: 0o700)
    } catch {
      // Another process has created it meanwhile.
      guard error.code == EEXIST else { throw error.about(folder) }
    }
  }

  private static func exists(_ path: String) -> Bool {
    var facts = stat()
    return lstat(path, &facts) == 0
  }

  /// The parent folder of `path`.
  static func parent(of path: String) -> String {
    let trimmed = path.reversed().drop { $0 == "/" }
    let above = trimmed.drop { $0 != "/" }
    let folder = above.drop { $0 == "/" }
    guard folder.isEmpty else { return String(folder.reversed()) }
    return above.isEmpty ? (trimmed.isEmpty ? "/" : ".") : "/"
  }

  /// The free octets on the file system of a folder; nil if unknown.
  private static func room(_ folder: CInt) -> Int? {
    var facts = statvfs()
    guard fstatvfs(folder, &facts) == 0, facts.f_blocks > 0 else { return nil }
    let (room, overflows) = UInt64(facts.f_bavail).multipliedReportingOverflow(by: UInt64(facts.f_frsize))
    return overflows ? .max : Int(clamping: room)
  }
}

extension SystemError {
  /// The error with the folder that the call was about, such as `open /srv/mail: Permission denied`.
  fileprivate func about(_ folder: String) -> SystemError { SystemError("\(call) \(folder)", code) }
}
