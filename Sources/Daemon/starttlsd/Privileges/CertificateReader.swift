// CertificateReader: the process that reads the files of TLS and of the access rules when starttlsd itself no longer may.
//
// It can do nothing else. The files and folders are fixed at its start, and it takes no path from starttlsd: a message
// means "read your files again". It keeps the user that starttlsd was started as, because that user may read the files, and of its
// capabilities only those to read. Since it is a process of its own, a file system that hangs stops no session.
//
// Once a second it looks at the files: at device, inode, size and times of what a path leads to, so that a new target of
// a symbolic link is a change too; and it lists the folders. After a change, or a message, it reads all files and sends
// each of them as a file in memory that nobody can change. The octets do not enter the memory of this process. The access
// rules are read only after a message.
//
// Messages to it: `read`. Messages of it, for each file, with its path: `file` with a descriptor, `failed` with an errno,
// or `irregular`. The number is `credential` or `rules`. A folder that cannot be listed is `failed` as well. Then
// `complete`, whose first value is 1 if a message requested it.

import CKernel
import ClientAccess
import Glibc
import Transport

final class CertificateReader {
  static let read: Int32 = 1
  static let file: Int32 = 2
  static let failed: Int32 = 3
  static let irregular: Int32 = 4
  static let complete: Int32 = 5
  static let credential: UInt32 = 0
  static let rules: UInt32 = 1

  private static let intervalMilliseconds: CInt = 1_000
  /// One octet more than a file of credentials may have.
  private static let sizeLimit = (1 << 20) + 1

  private let socket: MessageSocket
  private let files: CertificateFiles
  private let rules: String?
  /// What the files were when they were read last.
  private var stamps: [String: Stamp]
  /// False if one of the files is not a regular one, such as a pipe, which can be read only once.
  private let isWatching: Bool

  /// Starts the process.
  ///
  /// - Parameter rules: the file of the access rules.
  static func start(_ files: CertificateFiles, rules: String?) throws(SystemError) -> ForkedProcess {
    // Before starttlsd loads the files: the process may begin to run after that, and has to see each change since.
    let stamps = stamps(files.list())
    return try ForkedProcess("starttlsd-read", keepsErrors: false) { socket in
      guard kernel_keep_capabilities(KERNEL_CAPABILITIES_TO_READ) == 0, kernel_set_no_new_privileges() == 0,
        kernel_set_undumpable() == 0
      else { _exit(111) }
      CertificateReader(socket, files, rules, stamps).run()
    }
  }

  private init(
    _ socket: consuming MessageSocket, _ files: CertificateFiles, _ rules: String?, _ stamps: [String: Stamp]
  ) {
    self.socket = socket
    self.files = files
    self.rules = rules
    self.stamps = stamps
    isWatching = stamps.values.allSatisfy(\.isRegular)
  }

  private static func stamps(_ listing: (paths: [String], failures: [String: CInt])) -> [String: Stamp] {
    var stamps: [String: Stamp] = [:]
    for path in listing.paths { stamps[path] = Stamp(path) }
    for path in listing.failures.keys { stamps[path] = Stamp(path) }
    return stamps
  }

  private func run() -> Never {
    while true {
      var entry = pollfd(fd: socket.descriptor.number, events: CShort(POLLIN), revents: 0)
      _ = poll(&entry, 1, isWatching ? CertificateReader.intervalMilliseconds : -1)
      switch socket.receive(limit: HelperMessage.limit) {
      case .ended: _exit(0)
      case .message: send(isRequested: true)
      case .nothing:
        if isWatching, CertificateReader.stamps(files.list()) != stamps { send(isRequested: false) }
      }
    }
  }

  /// Reads all files and sends them.
  private func send(isRequested: Bool) {
    let listing = files.list()
    // Before the files are read: a change after this moment is seen by the next look.
    stamps = CertificateReader.stamps(listing)
    for path in listing.paths { send(path, CertificateReader.credential, limit: CertificateReader.sizeLimit) }
    for (path, code) in listing.failures {
      give(HelperMessage(CertificateReader.failed, first: code, payload: Array(path.utf8)))
    }
    if isRequested, let rules { send(rules, CertificateReader.rules, limit: AccessFile.sizeLimit + 1) }
    give(HelperMessage(CertificateReader.complete, first: isRequested ? 1 : 0))
  }

  private func send(_ path: String, _ number: UInt32, limit: Int) {
    let name = Array(path.utf8.prefix(HelperMessage.textLimit))
    do {
      guard let copy = try CertificateReader.copy(path, limit: limit) else {
        return give(HelperMessage(CertificateReader.irregular, number: number, payload: name))
      }
      give(HelperMessage(CertificateReader.file, number: number, payload: name), copy.number)
    } catch {
      give(HelperMessage(CertificateReader.failed, number: number, first: error.code, payload: name))
    }
  }

  /// Waits for room: starttlsd takes the messages in its own time.
  private func give(_ message: HelperMessage, _ descriptor: CInt = -1) {
    do {
      try socket.send(message.octets ?? [], descriptor: descriptor, isWaiting: true)
    } catch {
      _exit(0)
    }
  }

  /// The file as a sealed file in memory with the same permission bits; nil if it is not a regular file.
  private static func copy(_ path: String, limit: Int) throws(SystemError) -> Descriptor? {
    // O_NONBLOCK: the opening of a FIFO does not wait for its writer.
    let file = Descriptor(adopting: try Kernel.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY))
    let status = try Kernel.status(file.number)
    guard status.st_mode & S_IFMT == S_IFREG else { return nil }
    let number = kernel_memory_file("credentials")
    guard number >= 0 else { throw .last("memfd_create") }
    let memory = Descriptor(adopting: number)
    var rest = limit
    while rest > 0 {
      let count = kernel_copy_file(memory.number, file.number, rest)
      guard count >= 0 else { throw .last("read") }
      if count == 0 { break }
      rest -= count
    }
    try Kernel.setMode(memory.number, status.st_mode & 0o777)
    guard kernel_seal(memory.number) == 0 else { throw .last("fcntl") }
    return memory
  }
}

/// What identifies the contents of a file without reading it.
private struct Stamp: Equatable {
  private let device: dev_t
  private let inode: ino_t
  private let size: off_t
  private let modified: [Int]
  let isRegular: Bool

  /// All zero if the path leads to no file.
  init(_ path: String) {
    var status = stat()
    let exists = stat(path, &status) == 0
    if !exists { status = stat() }
    device = status.st_dev
    inode = status.st_ino
    size = status.st_size
    // The time of the last status change as well: a tool may set the other one.
    modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
    isRegular = exists && status.st_mode & S_IFMT == S_IFREG
  }
}
