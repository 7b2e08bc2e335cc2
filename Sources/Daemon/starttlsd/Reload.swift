// Reload: replaces the certificates while sessions run.
//
// Sessions that have started TLS, or have sent the 220 to STARTTLS, keep their credentials. The files are read by a process
// of its own, see CertificateReader; CertificateWatch decides what becomes of them.

import Logging
import Transport
import TransportTLS

extension Daemon {
  /// Called at the start, and after each reload.
  func warnOfKeys() {
    for warning in credentials.warnings { log.warning("\(warning)") }
    if let advice = credentials.advice { log.notice("\(advice)") }
  }

  /// Called at the start.
  func warnOfKeyProcess() {
    guard let keys else { return }
    if !keys.isConfined {
      log.warning("starttlsd-key, which holds the private keys, may make all system calls: this kernel has no filter for them (seccomp)")
    }
    if !isSingle, credentials.hasRSAKey { log.info("\(keys.rsa.summary)") }
    if keys.isLibcryptoWrong { warnOfWrongSignatures() }
  }

  func warnOfWrongSignatures() {
    log.warning(
      "libcrypto makes wrong signatures with an RSA key, so GnuTLS signs with that key: check the memory of this machine and the package of OpenSSL")
  }

  /// The file of the server program is another one, or has other contents.
  func programChanged(now: Int) {
    if let learning {
      log.notice("the file of the program has changed: what it sends is learnt again")
      learning.forget(now: now)
    }
    if let spares {
      log.notice("the file of the program has changed: the spare processes are replaced")
      spares.renew(.file, now: now)
    }
  }

  /// New sessions use these credentials from now on.
  func use(_ loaded: TLSCredentials) {
    credentials = loaded
    warnOfKeys()
    expiry?.look(now: Clock.now())
    tickets?.watch()
  }
}
