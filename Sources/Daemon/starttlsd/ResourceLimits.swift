// ResourceLimits: how many sessions, backends and refusals the process has room for.
//
// A session has two descriptors: its client's and its backend's. A backend process has one, from its start until it is
// reaped, which may be after its session. A session may have two processes for a short time: after the handshake the
// new one starts while the old one may still be ending. Room for a third lets the next session start while the
// processes of the last one are still ending. So five descriptors per session are enough.

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
  /// The limit for backends, independent of this process's raised limit.
  let inherited: OpenFilesLimit

  /// No client can be served.
  static let none = ResourceLimits()

  private init() {
    (sessions, backends, refusals) = (0, 0, 0)
    inherited = OpenFilesLimit(soft: 0, hard: 0)
  }

  /// Descriptors that are open for a short time only: an accepted connection, the backend's end of its socket, a
  /// certificate file.
  private static let transient = 6

  /// Raises this process's soft limit of descriptors as far as needed and as the hard limit allows. Call it after
  /// everything is open that stays open.
  init(_ configuration: Configuration) throws(SystemError) {
    let wanted = configuration.connectionsLimit
    let processes = try ResourceLimits.processes()
    let own = Int(clamping: configuration.privileges.processes ?? UInt.max)
    let wantedBackends = configuration.backendsLimit ?? max(2, min(3 * wanted, processes / 2, own))
    let wantedRefusals = min(64, max(4, wanted / 8))
    let status = [configuration.statusSocket != nil, configuration.metrics != nil].count { $0 } * ReportSocket.clientsLimit
    // While the certificates are loaded again, each of their files is open; of folders, which may have more of them then, up to
    // three sets: one is loaded, one waits, one arrives.
    let now = configuration.certificates.list().paths.count
    let certificates = configuration.certificates.folders.isEmpty ? now : 3 * min(CertificateFiles.limit, 2 * now + 32)
    let learning = configuration.learning == nil ? 0 : 1
    let others = ResourceLimits.openDescriptors() + ResourceLimits.transient + learning + status + certificates
    var limit = try OpenFilesLimit.current()
    inherited = limit
    let needed = UInt(2 * wanted + wantedBackends + wantedRefusals + others)
    if limit.soft < needed {
      limit.soft = min(needed, limit.hard)
      try limit.set()
    }
    guard limit.soft < needed else {
      sessions = wanted
      backends = wantedBackends
      refusals = wantedRefusals
      return
    }
    let available = max(0, Int(limit.soft) - others)
    refusals = min(wantedRefusals, max(4, available / 16))
    backends = max(2, min(wantedBackends, (available - refusals) * 3 / 5))
    sessions = max(1, min(wanted, (available - refusals - backends) / 2))
  }

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
