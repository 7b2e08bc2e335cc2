// CertificateWatch: takes the files that the reading process sends, and replaces the daemon's credentials.
//
// All or nothing: if one file cannot be loaded, or a key does not match its certificate, the credentials stay. Tools that
// renew a certificate replace its files one after the other. So a set that cannot be used is logged only if no other
// follows within two seconds, once.

import Glibc
import Logging
import Transport
import TransportTLS

final class CertificateWatch: HelperUser, TimerOwner, CredentialOpening {
  private static let patienceMilliseconds = 2_000

  private unowned let daemon: Daemon
  private let files: CertificateFiles
  private let connection: HelperConnection
  /// What was received of the set that is being sent, by path.
  private var entries: [String: Entry] = [:]
  /// The paths in their order.
  private var paths: [String] = []
  /// The file of the access rules.
  private var rules: Entry?
  /// The complaint about a set that may be incomplete, until its time has come.
  private var complaint: String?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// Why the last set that was read cannot be used; nil if it is in use.
  private(set) var failure: String?

  private enum Entry {
    case file(SharedDescriptor)
    case failed(CInt)
    case irregular
  }

  init(_ daemon: Daemon, _ files: CertificateFiles, _ connection: HelperConnection) {
    self.daemon = daemon
    self.files = files
    self.connection = connection
    connection.user = self
  }

  /// SIGHUP was received: has all files read again.
  func readAgain() {
    _ = connection.send(HelperMessage(CertificateReader.read))
  }

  func received(_ message: HelperMessage, _ descriptor: inout Descriptor?, now: Int) {
    if message.kind == CertificateReader.complete {
      complete(isRequested: message.first == 1, now: now)
      entries = [:]
      paths = []
      rules = nil
      return
    }
    let entry: Entry
    switch message.kind {
    case CertificateReader.file:
      // The kernel closes it if this process may not open more.
      if let file = descriptor.take() { entry = .file(SharedDescriptor(file)) } else { entry = .failed(EMFILE) }
    case CertificateReader.failed: entry = .failed(message.first)
    case CertificateReader.irregular: entry = .irregular
    default: return
    }
    guard message.number == CertificateReader.credential else { return rules = entry }
    let path = String(decoding: message.payload, as: UTF8.self)
    if entries.updateValue(entry, forKey: path) == nil { paths.append(path) }
  }

  private func complete(isRequested: Bool, now: Int) {
    use(isRequested: isRequested, now: now)
    if isRequested {
      if let rules { daemon.reloadRules { () throws(SystemError) in try CertificateWatch.open(rules) } }
      daemon.notification.reloaded(daemon.statusText)
    }
  }

  /// All files of a set have arrived.
  private func use(isRequested: Bool, now: Int) {
    complaint = nil
    deadline = nil
    let source = isRequested ? "SIGHUP" : "the files of the certificates have changed"
    do throws(ReloadError) {
      let loaded = try load()
      failure = nil
      daemon.use(loaded)
      daemon.log.notice("\(source): the certificates are loaded again: valid until \(LogLine.day(loaded.validUntil))")
    } catch {
      failure = error.description
      let text = "\(source): the certificates stay as they were: \(error.description)"
      if isRequested { return daemon.log.error("\(text)") }
      complaint = text
      deadline = now + CertificateWatch.patienceMilliseconds
      daemon.timers.schedule(self)
    }
  }

  /// No other set has followed a set that cannot be used.
  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    deadline = nil
    if let complaint { daemon.log.error("\(complaint)") }
    complaint = nil
  }

  private struct ReloadError: Error {
    let description: String
  }

  private func load() throws(ReloadError) -> TLSCredentials {
    for path in paths {
      if case .irregular = entries[path] {
        throw ReloadError(description: "\(path) is not a regular file and is read only at the start")
      }
    }
    do {
      for folder in files.allFolders {
        if case .failed(let code) = entries[folder] { throw TLSCredentialsError.unreadable(path: folder, SystemError("open", code)) }
      }
      return try files.load(paths, opening: self)
    } catch {
      throw ReloadError(description: "\(error)")
    }
  }

  /// The file as it was read.
  func open(_ path: String) throws(SystemError) -> Descriptor {
    guard let entry = entries[path] else { throw SystemError("open", ENOENT) }
    return try CertificateWatch.open(entry)
  }

  private static func open(_ entry: Entry) throws(SystemError) -> Descriptor {
    switch entry {
    case .file(let file):
      // One file may hold both a certificate and its key, and is then opened twice.
      lseek(file.descriptor.number, 0, SEEK_SET)
      return try file.descriptor.duplicate()
    case .failed(let code): throw SystemError("open", code)
    case .irregular: throw SystemError("open a regular file", EINVAL)
    }
  }
}
