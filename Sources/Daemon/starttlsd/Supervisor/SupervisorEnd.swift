// SupervisorEnd: the channel to the supervisor: has a worker end when its supervisor has ended, and sends it the metrics.
//
// The channel ends with the supervisor, however that ended. (PR_SET_PDEATHSIG would not do: the kernel forgets it when a process
// changes its user.) The worker stops as after SIGTERM: its sessions may end within the grace time.

import Glibc
import Logging
import Transport

final class SupervisorEnd: EventOwner {
  private unowned let daemon: Daemon
  private var watch: Watch?
  /// The supervisor, while it reads the metrics.
  private var client: ReportClient?

  private static let messageLimit = 64

  /// - Parameter channel: stays open as long as the daemon.
  init(_ daemon: Daemon, channel: CInt) throws(SystemError) {
    self.daemon = daemon
    let watch = Watch(descriptor: channel, events: CShort(POLLIN))
    try daemon.loop.update(nil, to: watch, for: self)
    self.watch = watch
  }

  func ready(now: Int) {
    guard let watch else { return }
    do throws(SystemError) {
      let (octets, number) = try Kernel.receiveMessage(watch.descriptor, limit: SupervisorEnd.messageLimit, CInt(MSG_DONTWAIT))
      if !octets.isEmpty {
        // The only message: the connection is for the metrics.
        if number >= 0 { report(on: Descriptor(adopting: number), now: now) }
        return
      }
    } catch {
      if error.code == EAGAIN { return }
    }
    daemon.loop.remove(watch.descriptor)
    self.watch = nil
    if daemon.isStopping { return }
    daemon.log.critical("the supervisor has ended: stopping")
    daemon.stop(now: now)
  }

  /// Sends the metrics to the supervisor, which asks once at a time.
  private func report(on connection: consuming Descriptor, now: Int) {
    client?.finish()
    let made = ReportClient(daemon, connection, requestLimit: 0) { _, _ in false } hasFinished: { [unowned self] client in
      if self.client === client { self.client = nil }
    }
    client = made
    made.send(Array(daemon.metricsText.utf8), now: now)
  }
}
