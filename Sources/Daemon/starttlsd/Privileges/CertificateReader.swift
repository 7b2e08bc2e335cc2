// CertificateReader: the process that reads the files of TLS and of the access rules when starttlsd itself no longer may.
//
// It can do nothing else. The files and folders are fixed at its start, and it takes no path from starttlsd: a message
// means "read your files again". It keeps the user that starttlsd was started as, because that user may read the files, and of its
// capabilities only those to read. Since it is a process of its own, a file system that hangs stops no session.
//
// Private keys go to the process that holds them (KeyProcess) and to no other. starttlsd gets what is public: of a key
// what that process answers, of every other file what PublicPart leaves. With --key-in-process there is no such process,
// and starttlsd gets all files as they are. The starter gets the names of the rules' variables: see RuleNames.
//
// Once a second it looks at the files: at device, inode, size and times of what a path leads to, so that a new target of
// a symbolic link is a change too; and it lists the folders. After a change, or a message, it reads all files and sends
// each of them as a file in memory that nobody can change; the access rules only after a message. With a process of the
// keys it also does so at its start; pipes, which can be read only once, are opened by starttlsd before.
//
// It looks at the file of the server program as well, with --learn-greeting or --spare-backends, and reports a change.
//
// Messages to it: `read`, with the first value `retry` if no operator requested it. Messages of it, for each file, with its index in this set as the number: `path`, before the
// others; `file` with a descriptor, `key` with
// algorithm, size, 1 if others may read the file, and the digest of the public key; `unusableKey` with an errno or a
// reason, `failed` with an errno, or `irregular`. A folder that cannot be listed is `failed` as well. The file of the access
// rules has the number `rules`. Then `complete`, whose first value is the `Cause`, and the second one is the number of
// this set.

import CKernel
import ClientAccess
import Glibc
import Transport
import TransportTLS

final class CertificateReader {
  static let read: Int32 = 1
  /// The set that cannot be used is tried again: no operator waits for the answer.
  static let retry: Int32 = 1
  /// Why a set was read.
  enum Cause: Int32 {
    case changed, requested, retried
  }
  static let file: Int32 = 2
  static let failed: Int32 = 3
  static let irregular: Int32 = 4
  static let complete: Int32 = 5
  static let key: Int32 = 6
  static let unusableKey: Int32 = 7
  static let path: Int32 = 8
  /// The file of the server program is another one, or has other contents.
  static let programChanged: Int32 = 9
  /// The number of the file of the access rules.
  static let rules = UInt32.max

  private static let intervalMilliseconds: CInt = 1_000
  /// One octet more than a file of credentials may have.
  private static let sizeLimit = (1 << 20) + 1

  private let socket: MessageSocket
  private let files: CertificateFiles
  private let rules: String?
  /// The file of the server program, and what it was; nil if it is not watched.
  private var program: (path: String, stamp: Stamp)?
  /// nil if a SIGHUP brings the starter no names.
  private let names: RuleNamesSender?
  /// The connection to the process of the keys; nil without one.
  private var keys: MessageSocket?
  /// Pipes that starttlsd has opened, until they are read.
  private var opened: [String: CInt]
  /// What the files were when they were read last.
  private var stamps: [String: Stamp]
  /// False if one of the files is not a regular one, such as a pipe, which can be read only once.
  private let isWatching: Bool
  private var generation: Int32 = 0

  /// Starts the process.
  ///
  /// - Parameters:
  ///   - rules: the file of the access rules.
  ///   - program: the file of the server program, if its changes are to be reported.
  ///   - keys: the connection to the process of the keys, which the new process owns; nil without one.
  ///   - names: the connection to the starter and what that accepts already; nil without one.
  static func start(
    _ files: CertificateFiles, rules: AccessFile?, program: String?, keys: CInt?, names: (end: CInt, rules: RuleVariables)?
  ) throws(SystemError) -> ForkedProcess {
    // Before starttlsd loads the files: the process may begin to run after that, and has to see each change since.
    let listing = files.list()
    let stamps = stamps(listing)
    let program = program.map { (path: $0, stamp: Stamp($0)) }
    var opened: [String: CInt] = [:]
    defer { for number in opened.values { Kernel.close(number) } }
    if keys != nil {
      for path in listing.paths where stamps[path]?.isRegular == false { opened[path] = try? Kernel.open(path, O_RDONLY) }
    }
    let kept = Array(opened.values) + [keys, names?.end].compactMap { $0 }
    return try ForkedProcess("starttlsd-read", keepsErrors: false, keeping: kept) { socket in
      guard kernel_keep_capabilities(KERNEL_CAPABILITIES_TO_READ) == 0, kernel_set_no_new_privileges() == 0,
        kernel_set_undumpable() == 0
      else { _exit(111) }
      CertificateReader(socket, files, rules, program, keys, names, opened, stamps).run()
    }
  }

  private init(
    _ socket: consuming MessageSocket, _ files: CertificateFiles, _ rules: AccessFile?, _ program: (path: String, stamp: Stamp)?,
    _ keys: CInt?, _ names: (end: CInt, rules: RuleVariables)?, _ opened: [String: CInt], _ stamps: [String: Stamp]
  ) {
    self.socket = socket
    self.files = files
    self.rules = rules?.path
    self.program = program
    self.names =
      if let names, let rules { RuleNamesSender(MessageSocket(Descriptor(adopting: names.end)), rules, names.rules) } else { nil }
    if let keys { self.keys = MessageSocket(Descriptor(adopting: keys)) }
    self.opened = opened
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
    if keys != nil { send(.changed) }
    while true {
      var entry = pollfd(fd: socket.descriptor.number, events: CShort(POLLIN), revents: 0)
      _ = poll(&entry, 1, isWatching || program != nil ? CertificateReader.intervalMilliseconds : -1)
      switch socket.receive(limit: HelperMessage.limit) {
      case .ended: _exit(0)
      case .message(let message):
        let isRetry = HelperMessage(message.octets)?.first == CertificateReader.retry
        send(isRetry ? hasChanged ? .changed : .retried : .requested)
      case .nothing:
        if hasChanged { send(.changed) }
        reportProgram()
      }
    }
  }

  /// True if a file is another one than when all were read.
  private var hasChanged: Bool { isWatching && CertificateReader.stamps(files.list()) != stamps }

  private func reportProgram() {
    guard let known = program else { return }
    let stamp = Stamp(known.path)
    guard stamp != known.stamp else { return }
    program?.stamp = stamp
    give(HelperMessage(CertificateReader.programChanged))
  }

  /// Reads all files and sends them.
  private func send(_ cause: Cause) {
    generation &+= 1
    let listing = files.list()
    // Before the files are read: a change after this moment is seen by the next look.
    stamps = CertificateReader.stamps(listing)
    for (index, path) in listing.paths.enumerated() {
      give(HelperMessage(CertificateReader.path, number: UInt32(index), payload: Array(path.utf8)))
      send(path, UInt32(index), limit: CertificateReader.sizeLimit)
    }
    for (index, failure) in listing.failures.enumerated() {
      let number = UInt32(listing.paths.count + index)
      give(HelperMessage(CertificateReader.path, number: number, payload: Array(failure.key.utf8)))
      give(HelperMessage(CertificateReader.failed, number: number, first: failure.value))
    }
    if cause == .requested, let rules { send(rules, CertificateReader.rules, limit: AccessFile.sizeLimit + 1) }
    give(HelperMessage(CertificateReader.complete, first: cause.rawValue, second: generation))
  }

  private func send(_ path: String, _ number: UInt32, limit: Int) {
    do {
      guard let contents = try contents(path, limit: limit) else { return give(HelperMessage(CertificateReader.irregular, number: number)) }
      if keys != nil, number != CertificateReader.rules {
        if files.isKey(path) { try pass(contents, number) }
        guard files.isOther(path) else { return }
        // The key of tickets has any octets, and could begin as a private key does.
        if path != files.tickets.keyFile || contents.length != SessionTickets.keyLength { contents.keepPublicPart() }
      }
      if number == CertificateReader.rules, let names { names.send(try contents.copy()) }
      let copy = try contents.copy()
      give(HelperMessage(CertificateReader.file, number: number), copy.number)
    } catch {
      give(HelperMessage(CertificateReader.failed, number: number, first: error.code))
    }
  }

  /// Passes a key on, and its answer to starttlsd.
  private func pass(_ contents: FileContents, _ number: UInt32) throws(SystemError) {
    let copy = try contents.copy()
    let message = HelperMessage(KeyProcess.load, number: number, first: generation)
    guard let answer = ask(message, copy.number) else { _exit(0) }
    guard answer.kind == KeyProcess.loaded else {
      let kind = CertificateReader.unusableKey
      return give(HelperMessage(kind, number: number, first: answer.first, payload: answer.payload))
    }
    let exposed: UInt8 = contents.mode & (S_IRGRP | S_IROTH) != 0 ? 1 : 0
    give(
      HelperMessage(
        CertificateReader.key, number: number, first: answer.first, second: answer.second, payload: [exposed] + answer.payload))
  }

  /// Waits for the answer of the process of the keys; nil if it has ended.
  private func ask(_ message: HelperMessage, _ descriptor: CInt) -> HelperMessage? {
    do {
      try keys?.send(message.octets ?? [], descriptor: descriptor, isWaiting: true)
    } catch {
      return nil
    }
    while true {
      switch keys?.receive(limit: HelperMessage.limit) {
      case .message(let message): return HelperMessage(message.octets)
      case .ended: return nil
      case nil: return nil
      case .nothing:
        var entry = pollfd(fd: keys?.number() ?? -1, events: CShort(POLLIN), revents: 0)
        _ = poll(&entry, 1, -1)
      }
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

  /// What a file contains; nil if it is not a regular file and was not opened before.
  private func contents(_ path: String, limit: Int) throws(SystemError) -> FileContents? {
    if let number = opened.removeValue(forKey: path) { return try FileContents(Descriptor(adopting: number), limit: limit) }
    // O_NONBLOCK: the opening of a FIFO does not wait for its writer.
    let file = Descriptor(adopting: try Kernel.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY))
    guard try Kernel.status(file.number).st_mode & S_IFMT == S_IFREG else { return nil }
    return try FileContents(file, limit: limit)
  }
}

extension MessageSocket {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
  fileprivate mutating func number() -> CInt { descriptor.number }
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
