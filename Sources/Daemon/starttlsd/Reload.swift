// Reload: reloads the certificates while sessions run.
//
// All or nothing: if one file cannot be loaded, or a key does not match its certificate, nothing changes. Sessions that
// have started TLS, or have sent the 220 to STARTTLS, keep their credentials.
//
// The thread of the event loop reads the files. They must be regular files: with a FIFO it would wait for the writer.

import Glibc
import Logging
import TransportTLS

/// The certificate files, as named at the start.
struct CertificateFiles {
  let pairs: [TLSCredentials.Pair]

  func load() throws(TLSCredentialsError) -> TLSCredentials {
    try TLSCredentials(pairs)
  }

  /// The first file that exists and is not a regular file.
  var irregular: String? {
    pairs.flatMap { [$0.certificate, $0.key] }.first { path in
      var status = stat()
      return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
    }
  }
}

extension Daemon {
  /// Called at the start, and after each reload.
  func warnOfKeys() {
    for path in credentials.exposedKeys { log.warning("\(path): others than its owner may read this key: chmod 600") }
  }

  /// SIGHUP was received.
  func reload() {
    notification.reloading()
    defer { notification.reloaded(statusText) }
    let files = configuration.certificates
    if let path = files.irregular {
      return log.error("SIGHUP: the certificates stay as they were: \(path) is not a regular file and is read only at the start")
    }
    do {
      let loaded = try files.load()
      credentials = loaded
      defer { warnOfKeys() }
      log.notice("SIGHUP: the certificates are loaded again: valid until \(LogLine.day(loaded.validUntil))")
    } catch {
      log.error("SIGHUP: the certificates stay as they were: \(error)")
    }
  }
}
