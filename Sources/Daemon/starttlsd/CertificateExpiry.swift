// CertificateExpiry: warns of certificates that end within 14 days, at the start, after each reload, and then daily.

import Glibc
import Logging
import Transport
import TransportTLS

final class CertificateExpiry: TimerOwner {
  private static let day = 86_400
  private static let warningDays = 14

  private unowned let daemon: Daemon
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon) {
    self.daemon = daemon
  }

  /// Looks at the certificates in use, and schedules the next look.
  func look(now: Int) {
    let today = time(nil)
    var seconds = CertificateExpiry.day
    for certificate in daemon.credentials.served {
      let rest = certificate.validUntil - today
      guard rest > CertificateExpiry.warningDays * CertificateExpiry.day else {
        daemon.log.warning("\(CertificateExpiry.warning(certificate.path, certificate.validUntil, rest: rest))")
        continue
      }
      seconds = min(seconds, rest - CertificateExpiry.warningDays * CertificateExpiry.day)
    }
    deadline = now + max(1, seconds) * 1000
    daemon.timers.schedule(self)
  }

  private static func warning(_ path: String, _ end: Int, rest: Int) -> String {
    if rest <= 0 { return "\(path): expired on \(LogLine.day(end)): renew the certificate" }
    let days = rest / day
    let left = days == 0 ? "in less than a day" : "in \(days) \(days == 1 ? "day" : "days")"
    return "\(path): expires \(left), on \(LogLine.day(end)): renew the certificate"
  }

  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    look(now: now)
  }
}
