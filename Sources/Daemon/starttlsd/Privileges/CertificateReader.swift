// CertificateReader: the process that reads the files of certificates and keys when starttlsd itself no longer may.
//
// It can do nothing else. The files are fixed at its start, and it takes no path from starttlsd: a message means "read
// your files again". It keeps the user that starttlsd was started as, because that user may read the files, and of its
// capabilities only those to read. Since it is a process of its own, a file system that hangs stops no session.
//
// Private keys go to the process that holds them (KeyProcess) and to no other. starttlsd gets what is public: of a key
// what that process answers, of every other file what PublicPart leaves. With --key-in-process there is no such process,
// and starttlsd gets all files as they are.
//
// Once a second it looks at the files: at device, inode, size and times of what a path leads to, so that a new target of
// a symbolic link is a change too. After a change, or a message, it reads all files and sends each of them as a file in
// memory that nobody can change. With a process of the keys it also does so at its start; pipes, which can be read only
// once, are opened by starttlsd before.
//
// Messages to it: `read`. Messages of it, for each file, with its index as the number: `file` with a descriptor, `key` with
// algorithm, size, 1 if others may read the file, and the digest of the public key; `unusableKey` with an errno or a
// reason, `failed` with an errno, or `irregular`; then `complete`, whose first value is 1 if a message requested it, and
// the second one is the number of this set.

import CKernel
import Glibc
import Transport

final class CertificateReader {
  static let read: Int32 = 1
  static let file: Int32 = 2
  static let failed: Int32 = 3
  static let irregular: Int32 = 4
  static let complete: Int32 = 5
  static let key: Int32 = 6
  static let unusableKey: Int32 = 7

  private static let intervalMilliseconds: CInt = 1_000
  /// One octet more than a file of credentials may have.
  private static let sizeLimit = (1 << 20) + 1

  private let socket: MessageSocket
  private let files: CertificateFiles
  /// The connection to the process of the keys; nil without one.
  private var keys: MessageSocket?
  /// Pipes that starttlsd has opened, by their index, until they are read.
  private var opened: [Int: CInt]
  /// What the files were when they were read last.
  private var stamps: [Stamp]
  /// False if one of the files is not a regular one, such as a pipe, which can be read only once.
  private let isWatching: Bool
  private var generation: Int32 = 0

  /// Starts the process.
  ///
  /// - Parameter keys: the connection to the process of the keys, which the new process owns; nil without one.
  static func start(_ files: CertificateFiles, keys: CInt?) throws(SystemError) -> ForkedProcess {
    // Before starttlsd loads the files: the process may begin to run after that, and has to see each change since.
    let stamps = files.paths.map { Stamp($0) }
    var opened: [Int: CInt] = [:]
    defer { for number in opened.values { Kernel.close(number) } }
    if keys != nil {
      for (index, path) in files.paths.enumerated() where !stamps[index].isRegular {
        opened[index] = try? Kernel.open(path, O_RDONLY)
      }
    }
    let kept = Array(opened.values) + [keys].compactMap { $0 }
    return try ForkedProcess("starttlsd-read", keepsErrors: false, keeping: kept) { socket in
      guard kernel_keep_capabilities(KERNEL_CAPABILITIES_TO_READ) == 0, kernel_set_no_new_privileges() == 0,
        kernel_set_undumpable() == 0
      else { _exit(111) }
      CertificateReader(socket, files, keys, opened, stamps).run()
    }
  }

  private init(
    _ socket: consuming MessageSocket, _ files: CertificateFiles, _ keys: CInt?, _ opened: [Int: CInt], _ stamps: [Stamp]
  ) {
    self.socket = socket
    self.files = files
    if let keys { self.keys = MessageSocket(Descriptor(adopting: keys)) }
    self.opened = opened
    self.stamps = stamps
    isWatching = stamps.allSatisfy(\.isRegular)
  }

  private func run() -> Never {
    if keys != nil { send(isRequested: false) }
    while true {
      var entry = pollfd(fd: socket.descriptor.number, events: CShort(POLLIN), revents: 0)
      _ = poll(&entry, 1, isWatching ? CertificateReader.intervalMilliseconds : -1)
      switch socket.receive(limit: HelperMessage.limit) {
      case .ended: _exit(0)
      case .message: send(isRequested: true)
      case .nothing:
        if isWatching, files.paths.map({ Stamp($0) }) != stamps { send(isRequested: false) }
      }
    }
  }

  /// Reads all files and sends them.
  private func send(isRequested: Bool) {
    generation &+= 1
    for (index, path) in files.paths.enumerated() {
      // Before the file is read: a change after this moment is seen by the next look.
      if opened[index] == nil { stamps[index] = Stamp(path) }
      do {
        guard let contents = try contents(index, path) else {
          give(HelperMessage(CertificateReader.irregular, number: UInt32(index)))
          continue
        }
        try send(contents, index, path)
      } catch {
        give(HelperMessage(CertificateReader.failed, number: UInt32(index), first: error.code))
      }
    }
    give(HelperMessage(CertificateReader.complete, first: isRequested ? 1 : 0, second: generation))
  }

  private func send(_ contents: FileContents, _ index: Int, _ path: String) throws(SystemError) {
    if keys != nil {
      if files.keyPaths.contains(path) { try pass(contents, index) }
      guard files.otherPaths.contains(path) else { return }
      contents.keepPublicPart()
    }
    let copy = try contents.copy()
    give(HelperMessage(CertificateReader.file, number: UInt32(index)), copy.number)
  }

  /// Passes a key on, and its answer to starttlsd.
  private func pass(_ contents: FileContents, _ index: Int) throws(SystemError) {
    let copy = try contents.copy()
    let message = HelperMessage(KeyProcess.load, number: UInt32(index), first: generation)
    guard let answer = ask(message, copy.number) else { _exit(0) }
    guard answer.kind == KeyProcess.loaded else {
      let kind = CertificateReader.unusableKey
      return give(HelperMessage(kind, number: UInt32(index), first: answer.first, payload: answer.payload))
    }
    let exposed: UInt8 = contents.mode & (S_IRGRP | S_IROTH) != 0 ? 1 : 0
    give(
      HelperMessage(
        CertificateReader.key, number: UInt32(index), first: answer.first, second: answer.second, payload: [exposed] + answer.payload))
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
  private func contents(_ index: Int, _ path: String) throws(SystemError) -> FileContents? {
    if let number = opened.removeValue(forKey: index) {
      return try FileContents(Descriptor(adopting: number), limit: CertificateReader.sizeLimit)
    }
    // O_NONBLOCK: the opening of a FIFO does not wait for its writer.
    let file = Descriptor(adopting: try Kernel.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY))
    guard try Kernel.status(file.number).st_mode & S_IFMT == S_IFREG else { return nil }
    return try FileContents(file, limit: CertificateReader.sizeLimit)
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
