// Reload: the certificates are loaded anew while sessions run.
//
// All or nothing: a set with one file that cannot be loaded, or a key that is not the certificate's, changes nothing.
// Sessions that have begun TLS, or have been promised it, go on with what they began with.
//
// The loop's thread reads the files. They must be regular ones: a FIFO would make it wait for whoever writes there.

import Glibc
import Logging
import TransportTLS

/// The certificates' files, as they were named at the start.
struct CertificateFiles {
  let pairs: [TLSCredentials.Pair]

  func load() throws(TLSCredentialsError) -> TLSCredentials {
    try TLSCredentials(pairs)
  }

  /// The first file that is there and is not a regular one.
  var irregular: String? {
    pairs.flatMap { [$0.certificate, $0.key] }.first { path in
      var status = stat()
      return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
    }
  }
}

extension Daemon {
  /// At the start, and whenever keys were loaded.
  func warnOfKeys() {
    for path in credentials.exposedKeys { log.warning("\(path): others than its owner may read this key: chmod 600") }
  }

  /// SIGHUP has come.
  func reload() {
    let files = configuration.certificates
    if let path = files.irregular {
      return log.error("SIGHUP: the certificates stay as they were: \(path) is not a regular file and is read only at the start")
    }
    do {
      let loaded = try files.load()
      credentials = loaded
      defer { warnOfKeys() }
      log.notice("SIGHUP: the certificates are loaded anew: valid until \(LogLine.day(loaded.validUntil))")
    } catch {
      log.error("SIGHUP: the certificates stay as they were: \(error)")
    }
  }
}
