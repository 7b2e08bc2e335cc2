// SupervisorEnd: has a worker end when its supervisor has ended.
//
// The channel ends with the supervisor, however that ended. (PR_SET_PDEATHSIG would not do: the kernel forgets it when a process
// changes its user.) The worker stops as after SIGTERM: its sessions may end within the grace time.

import Glibc
import Logging
import Transport

final class SupervisorEnd: EventOwner {
  private unowned let daemon: Daemon
  private var watch: Watch?

  /// - Parameter channel: stays open as long as the daemon.
  init(_ daemon: Daemon, channel: CInt) throws(SystemError) {
    self.daemon = daemon
    let watch = Watch(descriptor: channel, events: CShort(POLLIN))
    try daemon.loop.update(nil, to: watch, for: self)
    self.watch = watch
  }

  func ready(now: Int) {
    guard let watch else { return }
    // The supervisor sends nothing.
    var octet: UInt8 = 0
    let answer = withUnsafeMutableBytes(of: &octet) { buffer in
      Result { try Kernel.recv(watch.descriptor, buffer, CInt(MSG_DONTWAIT)) }
    }
    switch answer {
    case .success(let count) where count > 0: return
    case .failure(let error as SystemError) where error.code == EAGAIN: return
    case .success, .failure: break
    }
    daemon.loop.remove(watch.descriptor)
    self.watch = nil
    if daemon.isStopping { return }
    daemon.log.critical("the supervisor has ended: stopping")
    daemon.stop(now: now)
  }
}
