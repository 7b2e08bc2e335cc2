// RecordingProcess: writes the files of recordings, so that the event loop never waits for a disk.
//
// Purpose: it holds the folder, receives complete recordings as text, and writes each into a file of its own. It runs as the user of
// starttlsd. The process that serves strangers cannot open the folder.
// Contract: files have mode 0600 and are never overwritten. If there are too many, the oldest are removed.
// It accepts only the names that `Recordings` makes, and only so many octets: an attacker may control the process that serves.
// Failure: a recording that cannot be written is lost, and its file removed; starttlsd is informed. Nothing else happens. After a
// message that starttlsd never sends, the process ends.

import CKernel
import Glibc
import Transport

enum RecordingProcess {
  /// To the process: the name of a file, octets of it, its end. With the name: 1 if the session is recorded only because it ended badly.
  static let begin: Int32 = 1
  static let part: Int32 = 2
  static let end: Int32 = 3
  /// From the process: it is ready; it could not write, with errno; it has not written one of too many sessions that ended badly.
  static let ready: Int32 = 4
  static let failed: Int32 = 5
  static let refused: Int32 = 6

  static let suffix = ".rec"
  /// The text of a recording has at most so many octets for each octet that `RecordSettings.sizeLimit` allows.
  private static let textFactor = 16

  /// Starts the process, and waits until it is known that it can write.
  static func start(_ settings: RecordSettings, _ privileges: Privileges) throws(ConfigurationError) -> ForkedProcess {
    let folder = try open(settings.folder, privileges)
    let process: ForkedProcess
    do throws(SystemError) {
      let number = folder.number
      process = try ForkedProcess("starttlsd-rec", keepsErrors: false, keeping: [number]) { socket in
        run(socket, folder: number, settings, privileges)
      }
    } catch {
      throw .system("cannot start a process: \(error)")
    }
    var entry = pollfd(fd: process.socket.descriptor.number, events: CShort(POLLIN), revents: 0)
    _ = poll(&entry, 1, 10_000)
    guard case .message(let message) = process.socket.receive(limit: HelperMessage.limit), let known = HelperMessage(message.octets) else {
      throw .system("the process that writes recordings \(process.howItEnded())")
    }
    guard known.kind == ready else {
      let name = privileges.own.map { "the user \($0.name)" } ?? "starttlsd"
      throw .usage("--record \(settings.folder): \(name) cannot write there: \(SystemError("access", known.first))")
    }
    return process
  }

  /// Opens the folder, which nobody else may be able to change.
  private static func open(_ path: String, _ privileges: Privileges) throws(ConfigurationError) -> Descriptor {
    let number: CInt
    do throws(SystemError) {
      number = try Kernel.open(path, O_RDONLY | O_DIRECTORY)
    } catch {
      throw .usage("--record \(path): \(error): create the folder first")
    }
    let folder = Descriptor(adopting: number)
    guard let status = try? Kernel.status(number) else { throw .system("--record \(path): its owner cannot be read") }
    let user = privileges.own?.user ?? geteuid()
    guard status.st_uid == 0 || status.st_uid == user else {
      throw .usage("--record \(path): the folder belongs to another user: chown it to the user of starttlsd")
    }
    guard status.st_mode & 0o022 == 0 else { throw .usage("--record \(path): others can write to the folder: chmod 700 it") }
    return folder
  }

  // MARK: In the process

  private static func run(_ socket: consuming MessageSocket, folder: CInt, _ settings: RecordSettings, _ privileges: Privileges) -> Never {
    do throws(SystemError) {
      try privileges.own?.become()
      try Identity.renounceNewPrivileges()
      guard faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) == 0 else { throw SystemError.last("faccessat") }
      try socket.send(HelperMessage(ready).octets ?? [], isWaiting: true)
    } catch {
      try? socket.send(HelperMessage(failed, first: error.code).octets ?? [], isWaiting: true)
      _exit(111)
    }
    var ring = RecordingRing(folder: folder, limit: settings.filesLimit, isShared: settings.isShared)
    var name = ""
    var isFailure = false
    var octets: [UInt8] = []
    while true {
      switch socket.receive(limit: HelperMessage.limit) {
      case .nothing:
        var entry = pollfd(fd: socket.descriptor.number, events: CShort(POLLIN), revents: 0)
        _ = poll(&entry, 1, -1)
      case .ended: _exit(0)
      case .message(let message):
        guard let known = HelperMessage(message.octets) else { _exit(111) }
        switch known.kind {
        case begin:
          name = String(decoding: known.payload, as: UTF8.self)
          isFailure = known.first == 1
          octets = []
          guard RecordingRing.isOwn(name) else { _exit(111) }
        case part:
          octets += known.payload
          guard octets.count <= textFactor * settings.sizeLimit else { _exit(111) }
        default:
          if settings.isSingle, isFailure, ring.countOfLastMinute() >= settings.failuresLimit {
            try? socket.send(HelperMessage(refused).octets ?? [])
            continue
          }
          do throws(SystemError) {
            try ring.write(octets, name)
          } catch {
            try? socket.send(HelperMessage(failed, first: error.code, payload: Array(error.call.utf8)).octets ?? [])
          }
          octets = []
        }
      }
    }
  }
}
