// CertificateWatch: takes the files that the reading process sends, and replaces the daemon's credentials.
//
// All or nothing: if one file cannot be loaded, or a key does not match its certificate, the credentials stay. Tools that
// renew a certificate replace its files one after the other. So a set that cannot be used is logged only if no other
// follows within two seconds, once. Some faults end without a change of a file: a certificate becomes valid, the limit of
// open files no longer applies. So all files are read again each minute until a set can be used.

import Glibc
import Logging
import Transport
import TransportTLS

final class CertificateWatch: HelperUser, TimerOwner {
  private static let patienceMilliseconds = 2_000
  private static let retryMilliseconds = 60_000

  private unowned let daemon: Daemon
  private let files: CertificateFiles
  private let connection: HelperConnection
  /// The set that is arriving.
  private var received: ReceivedFiles
  /// The complaint about a set that may be incomplete, until its time has come.
  private var complaint: String?
  /// The fault that was logged last: the same one is not logged each minute.
  private var loggedFailure: String?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// Why the last set that was read cannot be used; nil if it is in use.
  private(set) var failure: String?

  init(_ daemon: Daemon, _ files: CertificateFiles, _ connection: HelperConnection) {
    self.daemon = daemon
    self.files = files
    self.connection = connection
    received = ReceivedFiles(files, daemon.keys)
    connection.user = self
  }

  /// SIGHUP was received: has all files read again.
  func readAgain() {
    _ = connection.send(HelperMessage(CertificateReader.read))
  }

  func received(_ message: HelperMessage, _ descriptor: inout Descriptor?, now: Int) {
    guard case .complete(let isRequested) = received.take(message, &descriptor) else { return }
    use(isRequested: isRequested, now: now)
    if isRequested {
      if let open = received.openRules { daemon.reloadRules(open) }
      daemon.notification.reloaded(daemon.statusText)
    }
    received = ReceivedFiles(files, daemon.keys)
  }

  /// All files of a set have arrived.
  private func use(isRequested: Bool, now: Int) {
    complaint = nil
    deadline = nil
    let source = isRequested ? "SIGHUP" : "the files of the certificates have changed"
    do throws(ReloadError) {
      let loaded = try load()
      failure = nil
      loggedFailure = nil
      warnOfMissing(in: loaded)
      daemon.use(loaded)
      daemon.log.notice("\(source): the certificates are loaded again: valid until \(LogLine.day(loaded.validUntil))")
    } catch {
      failure = error.description
      let text = "\(source): the certificates stay as they were: \(error.description)"
      if isRequested {
        loggedFailure = failure
        daemon.log.error("\(text)")
        return wait(CertificateWatch.retryMilliseconds, now)
      }
      if failure != loggedFailure { complaint = text }
      wait(complaint == nil ? CertificateWatch.retryMilliseconds : CertificateWatch.patienceMilliseconds, now)
    }
  }

  private func wait(_ milliseconds: Int, _ now: Int) {
    deadline = now + milliseconds
    daemon.timers.schedule(self)
  }

  /// A file that is removed by mistake is no fault of the new set: the operator is to see it.
  private func warnOfMissing(in loaded: TLSCredentials) {
    let paths = Set(loaded.served.map(\.path))
    for path in Set(daemon.credentials.served.map(\.path)).subtracting(paths).sorted() {
      daemon.log.warning("no longer served: \(path)")
    }
  }

  /// No other set has followed a set that cannot be used: it is logged, and later tried again.
  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    if let complaint {
      loggedFailure = failure
      daemon.log.error("\(complaint)")
    } else {
      _ = connection.send(HelperMessage(CertificateReader.read, first: CertificateReader.retry))
    }
    complaint = nil
    wait(CertificateWatch.retryMilliseconds, now)
  }

  private struct ReloadError: Error {
    let description: String
  }

  private func load() throws(ReloadError) -> TLSCredentials {
    if let path = received.irregularPath {
      throw ReloadError(description: "\(path) is not a regular file and is read only at the start")
    }
    do {
      return try received.load(earlier: daemon.credentials.served)
    } catch {
      throw ReloadError(description: "\(error)")
    }
  }
}
