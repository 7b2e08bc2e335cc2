// TicketRotation: replaces the key of session tickets each week, if it was made here. Tickets in use stay valid, see TicketKeys.
//
// Failure: without random octets the key stays, with a warning, and a new one is tried an hour later.

import Logging
import Transport
import TransportTLS

final class TicketRotation: TimerOwner {
  private static let retryMilliseconds = 3_600_000

  private unowned let daemon: Daemon
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon) {
    self.daemon = daemon
    let settings = daemon.configuration.certificates.tickets
    if let worker = daemon.configuration.passedDescriptors.worker, worker.number == 1, worker.count > 1, settings.isOn, settings.keyFile == nil {
      daemon.log.notice(
        "--session-tickets: each of \(worker.count) workers knows only its own tickets, others cost a full handshake: give --ticket-key-file")
    }
    watch()
  }

  /// Called at the start and after each reload: the credentials may have another key.
  func watch() { schedule(daemon.credentials.ticketKeyReplacement) }

  private func schedule(_ time: Int?) {
    deadline = time
    if time != nil { daemon.timers.schedule(self) }
  }

  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    do throws(TLSCredentialsError) {
      daemon.credentials = try TLSCredentials(replacingTicketKeyOf: daemon.credentials)
      daemon.log.info("the key of the session tickets is replaced, as each week")
      watch()
    } catch {
      daemon.log.warning("the key of the session tickets cannot be replaced: \(error)")
      schedule(now + TicketRotation.retryMilliseconds)
    }
  }
}
