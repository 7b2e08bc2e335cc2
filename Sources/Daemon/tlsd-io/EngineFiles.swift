// EngineFiles: the certificates of an engine for many sessions, and what their files looked like when they were read.
//
// A change is any other file, size or time at a path. A renewal in several steps may be seen between two of them: then the
// pair does not match, the earlier one stays, and the next session finds the rest. Files that cannot be used are read again
// when they change, and at most once a minute otherwise. Of a folder of issuers each file is looked at: one that is written in
// place changes nothing in the folder itself.
//
// Failure: at the start a Failure; later a line for the operator, once for each reason.

import Glibc
import ProgramSupport
import Transport
import TransportTLS

/// Certificates that follow their files.
final class EngineFiles {
  private(set) var credentials: TLSCredentials
  private let paths: [String]
  /// The folder of issuers, if clients are asked for a certificate; nil without one.
  private let folder: String?
  /// By path.
  private var states: [String: FileState]
  private var trouble: String?
  /// When files that could not be used are read again, by the clock of `Clock.now()`; nil if they could.
  private var retry: Int?
  private static let retryMilliseconds = 60_000

  /// What tells one content of a file from another.
  private struct FileState: Hashable {
    let device: dev_t
    let number: ino_t
    let size: off_t
    let written: (Int, Int)
    let changed: (Int, Int)

    init?(_ path: String) {
      var information = stat()
      guard stat(path, &information) == 0 else { return nil }
      device = information.st_dev
      number = information.st_ino
      size = information.st_size
      written = (information.st_mtim.tv_sec, information.st_mtim.tv_nsec)
      changed = (information.st_ctim.tv_sec, information.st_ctim.tv_nsec)
    }

    static func == (one: FileState, other: FileState) -> Bool {
      one.device == other.device && one.number == other.number && one.size == other.size && one.written == other.written
        && one.changed == other.changed
    }

    func hash(into hasher: inout Hasher) { hasher.combine(number) }
  }

  /// Reads the files that the variables name.
  init(_ own: EngineRequest) throws(Failure) {
    var paths: [String] = []
    for variable in own.variables {
      let parts = variable.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].hasPrefix("TLS_") else { continue }
      // A helper has the same text but perhaps another folder.
      guard parts[1].hasPrefix("/") else { throw Failure(.usage, "\(parts[0]) must be an absolute path with --listen") }
      paths.append(String(parts[1]))
    }
    self.paths = paths
    folder = own.options.clientCertificate == .ignored ? nil : getenv("CADIR").map { String(cString: $0) }
    states = EngineFiles.look(paths, folder)
    credentials = try Certificates.load(own.options)
  }

  /// What all files look like now. Those that do not exist are left out.
  private static func look(_ paths: [String], _ folder: String?) -> [String: FileState] {
    // A folder that cannot be read has no files; to load it fails, with the reason.
    let issuers = folder.flatMap { try? CredentialFolder.files(in: $0) } ?? []
    return (paths + issuers).reduce(into: [:]) { $0[$1] = FileState($1) }
  }

  /// Reads the files again if one has changed.
  ///
  /// - Returns: why they cannot be used; nil if they can, or if this was returned before.
  func refresh(_ options: TLSHelperOptions) -> String? {
    let now = EngineFiles.look(paths, folder)
    let isRetry = retry.map { Clock.now() >= $0 } ?? false
    guard now != states || isRetry else { return nil }
    states = now
    do throws(Failure) {
      credentials = try Certificates.load(options)
      retry = nil
      trouble = nil
      Program.warn(credentials, options)
      return nil
    } catch {
      retry = Clock.now() + EngineFiles.retryMilliseconds
      guard error.description != trouble else { return nil }
      trouble = error.description
      return "the certificates have changed and cannot be used, the earlier ones stay: \(error)"
    }
  }
}
