// StatusSocket: the Unix socket at which `starttlsd status` asks: a line, `text` or `json`, for one report.

import Logging
import Transport
import TransportTLS

extension ReportSocket {
  /// `text` or `json` and a line end.
  private static let statusRequestLimit = 16

  /// The socket of --status-socket.
  static func status(_ daemon: Daemon, path: String) throws(ConfigurationError) -> ReportSocket {
    do throws(SystemError) {
      return try ReportSocket(
        daemon, .unix(path), inherited: daemon.configuration.passedDescriptors.worker?.status, requestLimit: statusRequestLimit) { [unowned daemon] client, request in
        guard request.contains(UInt8(ascii: "\n")) || request.count >= statusRequestLimit else { return false }
        let report = daemon.statusReport
        client.send(Array((request.starts(with: "json".utf8) ? report.json : report.text).utf8))
        return true
      }
    } catch {
      throw .system("--status-socket \(path): \(error)")
    }
  }
}

extension Daemon {
  /// The state now.
  var statusReport: StatusReport {
    let now = Clock.now()
    return StatusReport(
      upSeconds: (now - startedAt) / 1000, isStopping: isStopping, addresses: listeningAddresses(isImplicit: false),
      implicitAddresses: listeningAddresses(isImplicit: true),
      sessions: runningSessions.map { $0.summary(now: now) }, sessionsLimit: admission.limits.sessions,
      backends: admission.backends, backendsLimit: admission.limits.backends,
      spares: spares?.report, totals: totals,
      priorities: configuration.priorities,
      certificates: StatusReport.certificates(credentials.served),
      certificatesFailure: certificates.failure, keys: keys?.report(now: now))
  }
}
