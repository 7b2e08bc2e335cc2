// DescriptorLimit: as many descriptors as the sessions need.

import Glibc
import Transport

enum DescriptorLimit {
  /// What a session needs at most: its client, two servers and the processes behind them, for the moment between two.
  private static let perSession = 5
  /// Standard streams, listeners, epoll, signals.
  private static let others = 64

  /// Raises this process's soft limit (RLIMIT_NOFILE) as far as so many sessions need and the hard limit allows.
  ///
  /// - Returns: how many sessions there is room for, at most those asked for.
  static func raise(forSessions sessions: Int) throws(SystemError) -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw SystemError.last("getrlimit") }
    let wanted = rlim_t(clamping: sessions * perSession + others)
    if limit.rlim_cur < wanted {
      limit.rlim_cur = min(wanted, limit.rlim_max)
      guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw SystemError.last("setrlimit") }
    }
    let available = Int(clamping: limit.rlim_cur) - others
    return max(1, min(sessions, available / perSession))
  }
}
