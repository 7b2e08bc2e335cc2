// ResourceLimits: how many sessions, backends and refusals the process has room for.
//
// A session has two descriptors: its client's and its backend's. While a start waits for the starter, it has one more. A backend
// process that is a child of this process (--inetd) has one, from its start until it is reaped, which may be after its session.
// After the handshake the new process starts while the old one may still be ending: a session that may come to that has a process
// reserved, and so a descriptor. `Admission` counts what is open and what is reserved. So no descriptor is missing in the middle
// of a session.

import CKernel
import Glibc
import Transport

struct ResourceLimits {
  /// The maximum number of sessions.
  let sessions: Int
  /// The maximum number of backend processes, including those whose sessions have ended.
  let backends: Int
  /// The maximum number of clients that are being refused.
  let refusals: Int
  /// The maximum number of descriptors that sessions and backend processes have, or have reserved.
  let descriptors: Int
  /// The number of descriptors of this process for a backend process: 0 if another process starts them, or if there is none.
  let ofProcess: Int
  /// How many sessions the descriptors allow if each has a process reserved.
  let sessionsInClear: Int
  /// The limit for backends, independent of this process's raised limit.
  let inherited: OpenFilesLimit

  /// No client can be served.
  static let none = ResourceLimits()

  private init() {
    (sessions, backends, refusals, descriptors, ofProcess, sessionsInClear) = (0, 0, 0, 0, 0, 0)
    inherited = OpenFilesLimit(soft: 0, hard: 0)
  }

  /// Descriptors that are open for a short time only: an accepted connection, the backend's end of its socket, a
  /// certificate file.
  private static let transient = 6
  /// Descriptors of the starter that belong to no program: its streams, its socket, and what a start needs.
  private static let ofStarter = 16

  /// Raises this process's limit of descriptors as far as needed and as possible. Call it after everything is open that stays
  /// open, and before privileges are given up.
  init(_ configuration: Configuration) throws(SystemError) {
    let wanted = configuration.connectionsLimit
    let wantedBackends = try ResourceLimits.wantedBackends(configuration)
    let wantedRefusals = min(64, max(4, wanted / 8))
    let status = [configuration.statusSocket != nil, configuration.metrics != nil].count { $0 } * ReportSocket.clientsLimit
    // While the certificates are loaded again, each of their files is open; of folders, which may have more of them then, up to
    // three sets: one is loaded, one waits, one arrives.
    let now = configuration.certificates.list().paths.count
    let certificates = configuration.certificates.folders.isEmpty ? now : 3 * min(CertificateFiles.limit, 2 * now + 32)
    let learning = configuration.learning == nil ? 0 : 1
    // One each, and one while the next one is being started.
    let spareProcesses = configuration.spares?.number ?? 0
    let spares = spareProcesses == 0 ? 0 : spareProcesses + 1
    let others = ResourceLimits.openDescriptors() + ResourceLimits.transient + learning + spares + status + certificates
    let hasStarter = configuration.hasStarter
    ofProcess = configuration.backend.servers != nil || hasStarter ? 0 : 1
    inherited = try OpenFilesLimit.current()
    var needed = 2 * wanted + ofProcess * wantedBackends + wantedRefusals + others
    if hasStarter { needed = max(needed, wantedBackends + spareProcesses + ResourceLimits.ofStarter) }
    // With room for the starts that wait, where that is possible.
    let limit = try OpenFilesLimit.raise(to: UInt(needed + (hasStarter ? wanted : 0)))
    let isEnough = limit.soft >= UInt(needed)
    let available = max(0, Int(clamping: limit.soft) - others)
    refusals = isEnough ? wantedRefusals : min(wantedRefusals, max(4, available / 16))
    descriptors = max(2 + 2 * ofProcess, available - refusals)
    // The starter has the same hard limit.
    let room = hasStarter ? Int(clamping: limit.hard) - ResourceLimits.ofStarter - spareProcesses : ofProcess > 0 ? descriptors : Int.max
    backends = max(2, min(wantedBackends, room))
    sessions = isEnough ? wanted : max(1, min(wanted, descriptors / (2 + ofProcess)))
    sessionsInClear = isEnough ? wanted : max(1, min(wanted, descriptors / (2 + 2 * ofProcess)))
  }

  /// How many backend processes there may be if the descriptors allow it.
  private static func wantedBackends(_ configuration: Configuration) throws(SystemError) -> Int {
    let own = Int(clamping: configuration.privileges.processes ?? UInt.max)
    if let limit = configuration.backendsLimit { return limit }
    // Servers that are connected to have no processes.
    if configuration.backend.servers != nil { return configuration.connectionsLimit + 2 }
    // The system counts the processes of all workers.
    let ofAll = min(try processes() / 2, own)
    let wanted = 3 * configuration.connectionsLimit + (configuration.spares?.number ?? 0)
    return max(2, min(wanted, configuration.passedDescriptors.worker?.part(of: ofAll) ?? ofAll))
  }

  /// The most processes of the program that the starter starts: `backends`, unless the descriptors allow fewer. A given-up spare
  /// process may not have ended yet when a session starts the process in its place.
  static func programs(_ configuration: Configuration) throws(SystemError) -> Int {
    max(2, try wantedBackends(configuration)) + (configuration.spares?.number ?? 0)
  }

  /// The limit of descriptors that the starter needs.
  static func starterLimit(_ program: StartedProgram) -> UInt { UInt(program.limit + ofStarter) }

  /// The soft limit of processes of this user (RLIMIT_NPROC).
  private static func processes() throws(SystemError) -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(KERNEL_RLIMIT_NPROC), &limit) == 0 else { throw SystemError.last("getrlimit") }
    return Int(clamping: limit.rlim_cur)
  }

  private static func openDescriptors() -> Int {
    // Without /proc: standard streams, listeners, epoll, signals, log, reserve.
    guard let folder = opendir("/proc/self/fd") else { return 16 }
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    // Without the entries "." and "..", and the descriptor of the folder itself.
    return count - 3
  }
}
