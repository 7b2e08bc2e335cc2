// Reload: replaces the certificates while sessions run.
//
// Sessions that have started TLS, or have sent the 220 to STARTTLS, keep their credentials. The files are read by a process
// of its own, see CertificateReader; CertificateWatch decides what becomes of them.

import Logging
import Transport
import TransportTLS

/// The certificate files, as named at the start.
struct CertificateFiles: Sendable {
  let pairs: [TLSCredentials.Pair]
  /// Each file once.
  let paths: [String]

  init(pairs: [TLSCredentials.Pair]) {
    self.pairs = pairs
    var paths: [String] = []
    for path in pairs.flatMap({ [$0.certificate, $0.key] }) where !paths.contains(path) { paths.append(path) }
    self.paths = paths
  }

  /// Reads the files itself, at the start.
  func load() throws(TLSCredentialsError) -> TLSCredentials {
    try TLSCredentials(pairs)
  }
}

extension Daemon {
  /// Called at the start, and after each reload.
  func warnOfKeys() {
    for path in credentials.exposedKeys { log.warning("\(path): others than its owner may read this key: chmod 600") }
  }

  /// New sessions use these credentials from now on.
  func use(_ loaded: TLSCredentials) {
    credentials = loaded
    warnOfKeys()
    expiry?.look(now: Clock.now())
  }
}
