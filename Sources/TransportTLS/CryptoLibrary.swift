// CryptoLibrary: libcrypto of OpenSSL 3, if this machine has it. The process that holds the keys signs with it with RSA keys: that takes a third of
// the time of GnuTLS.
//
// It is loaded at run time (see CLibcrypto.h). Nothing depends on it: what it cannot do GnuTLS does.
//
// Contract: load it before the system calls of a process are limited, and only in a process that reads nothing of strangers but
// requests for signatures. One thread.

import CLibcrypto

/// libcrypto, loaded and usable.
package struct CryptoLibrary {
  /// Such as `OpenSSL 3.0.19 27 Jan 2026`.
  package let version: String

  /// Why it cannot be used.
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// Loads it into this process.
  package init() throws(Failure) {
    if let reason = libcrypto_load() { throw Failure(description: String(cString: reason)) }
    version = String(cString: libcrypto_version())
  }

  /// Makes a key and signs with it; true if that succeeds.
  package func tryOut() -> Bool { libcrypto_try() }
}
