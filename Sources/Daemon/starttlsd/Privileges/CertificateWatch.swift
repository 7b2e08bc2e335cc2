// CertificateWatch: takes the files that the reading process sends, and replaces the daemon's credentials.
//
// All or nothing: if one file cannot be loaded, or a key does not match its certificate, the credentials stay. Tools that
// renew a certificate replace its files one after the other. So a set that cannot be used is logged only if no other
// follows within two seconds, once. Some faults end without a change of a file: a certificate becomes valid, the limit of
// open files no longer applies. So all files are read again each minute until a set can be used.
//
// It passes on that the file of the server program has changed.
//
// A set is loaded in turns of some milliseconds, between which sessions go on. A set that arrives meanwhile comes next.

import Glibc
import Logging
import Transport
import TransportTLS

final class CertificateWatch: HelperUser, TimerOwner {
  private static let patienceMilliseconds = 2_000
  private static let retryMilliseconds = 60_000
  /// A turn of loading ends after the step that exceeds this time.
  private static let turnMilliseconds = 10

  private unowned let daemon: Daemon
  private let files: CertificateFiles
  private let connection: HelperConnection
  /// The set that is arriving.
  private var received: ReceivedFiles
  /// The set that is being loaded, and the one after it.
  private var current: CompleteSet?
  private var following: CompleteSet?
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
    if message.kind == CertificateReader.programChanged { return daemon.programChanged(now: now) }
    guard case .complete(let cause) = received.take(message, &descriptor) else { return }
    var set = CompleteSet(files: received, cause: cause)
    received = ReceivedFiles(files, daemon.keys)
    guard current != nil else { return begin(set, now: now) }
    // Of two that have not begun, the later one has what counts. It also answers the request that led to the earlier one.
    if let following, following.cause == .requested, cause != .requested {
      set.cause = .requested
      set.rules = following.rules
    }
    following = set
  }

  /// All files of a set have arrived.
  private func begin(_ set: CompleteSet, now: Int) {
    complaint = nil
    current = set
    do throws(TLSCredentialsError) {
      if let path = set.files.irregularPath { return finish(nil, "\(path) is not a regular file and is read only at the start", now: now) }
      current?.loading = try set.files.load(replacesTicketKey: set.cause == .requested)
      wait(0, now)
    } catch {
      finish(nil, error.description, now: now)
    }
  }

  /// Goes on with the set for some milliseconds.
  private func load(_ loading: CredentialLoading, now: Int) {
    do throws(TLSCredentialsError) {
      repeat {
        if let loaded = try loading.next(earlier: daemon.credentials) { return finish(loaded, "", now: now) }
      } while Clock.now() - now < CertificateWatch.turnMilliseconds
      wait(0, now)
    } catch {
      finish(nil, error.description, now: now)
    }
  }

  /// A set is loaded, or cannot be used.
  private func finish(_ loaded: TLSCredentials?, _ fault: String, now: Int) {
    guard let set = current.take() else { return }
    deadline = nil
    if let loaded { use(loaded, set) } else { refuse(set, fault, now: now) }
    if set.cause == .requested {
      if let open = set.rules { daemon.reloadRules(open) }
      daemon.notification.reloaded(daemon.statusText)
    }
    if let next = following.take() { begin(next, now: now) }
  }

  private func use(_ loaded: TLSCredentials, _ set: CompleteSet) {
    failure = nil
    loggedFailure = nil
    warnOfMissing(in: loaded)
    daemon.use(loaded)
    daemon.log.notice("\(set.source): the certificates are loaded again: valid until \(LogLine.day(loaded.validUntil))")
  }

  private func refuse(_ set: CompleteSet, _ fault: String, now: Int) {
    failure = fault
    let text = "\(set.source): the certificates stay as they were: \(fault)"
    if set.cause == .requested {
      loggedFailure = fault
      daemon.log.error("\(text)")
      return wait(CertificateWatch.retryMilliseconds, now)
    }
    if failure != loggedFailure { complaint = text }
    wait(complaint == nil ? CertificateWatch.retryMilliseconds : CertificateWatch.patienceMilliseconds, now)
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

  /// No other set has followed a set that cannot be used: it is logged, and later tried again. Or a set is being loaded.
  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    if let loading = current?.loading { return load(loading, now: now) }
    if let complaint {
      loggedFailure = failure
      daemon.log.error("\(complaint)")
    } else {
      _ = connection.send(HelperMessage(CertificateReader.read, first: CertificateReader.retry))
    }
    complaint = nil
    wait(CertificateWatch.retryMilliseconds, now)
  }

  /// A set of which all files have arrived.
  private struct CompleteSet {
    let files: ReceivedFiles
    var cause: CertificateReader.Cause
    /// The access rules that were read with the set; nil if they were not requested.
    var rules: (() throws(SystemError) -> Descriptor)?
    /// nil until it is loaded.
    var loading: CredentialLoading?

    init(files: ReceivedFiles, cause: CertificateReader.Cause) {
      self.files = files
      self.cause = cause
      rules = files.openRules
    }

    /// For the log.
    var source: String {
      switch cause {
      case .changed: "the files of the certificates have changed"
      case .requested: "SIGHUP"
      case .retried: "the files of the certificates, which have not changed, were read again"
      }
    }
  }
}
