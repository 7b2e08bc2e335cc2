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
  /// Those that are named as keys.
  let keyPaths: Set<String>
  /// Those that are named as something else, also if they are keys as well.
  let otherPaths: Set<String>

  init(pairs: [TLSCredentials.Pair]) {
    self.pairs = pairs
    var paths: [String] = []
    for path in pairs.flatMap({ [$0.certificate, $0.key] }) where !paths.contains(path) { paths.append(path) }
    self.paths = paths
    keyPaths = Set(pairs.map(\.key))
    otherPaths = Set(pairs.map(\.certificate))
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

  /// Called at the start.
  func warnOfKeyProcess() {
    guard let keys, !keys.isConfined else { return }
    log.warning("starttlsd-key, which holds the private keys, may make all system calls: this kernel has no filter for them (seccomp)")
  }

  /// New sessions use these credentials from now on.
  func use(_ loaded: TLSCredentials) {
    credentials = loaded
    warnOfKeys()
    expiry?.look(now: Clock.now())
  }
}
