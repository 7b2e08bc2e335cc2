// RSALibrary: which library signs with RSA keys, and the start of libcrypto in the process of the keys.
//
// GnuTLS needs three times as long as libcrypto for a signature with an RSA key. Where libcrypto is on the machine it signs instead. It is
// loaded before the process has a key, and before its system calls are filtered: after that no file can be opened. A version that makes a
// call which the filter forbids would end the process at its first signature. So it is tried first, in a child with the same filter,
// which makes a key, signs, and ends.
//
// Failure: with `auto` GnuTLS signs, and the log has the reason. With `libcrypto` starttlsd does not start.

import ArgumentParser
import CKernel
import Glibc
import Transport
import TransportTLS

/// --rsa-signer
enum RSASignerChoice: String, CaseIterable, ExpressibleByArgument, Sendable {
  case auto, libcrypto, gnutls
}

/// What signs with RSA keys in the process that holds them.
enum RSALibrary {
  case gnutls
  /// libcrypto, of this version.
  case libcrypto(String)
  /// GnuTLS, because libcrypto cannot be used.
  case fallback(reason: String)

  private static let trialSeconds: UInt32 = 20

  /// Loads libcrypto into this process, unless GnuTLS is to sign.
  static func load(_ choice: RSASignerChoice) -> (library: CryptoLibrary?, state: RSALibrary) {
    guard choice != .gnutls else { return (nil, .gnutls) }
    do throws(CryptoLibrary.Failure) {
      let library = try CryptoLibrary()
      guard survives(library) else { return (nil, .fallback(reason: "\(library.version) cannot sign with few system calls")) }
      return (library, .libcrypto(library.version))
    } catch {
      return (nil, .fallback(reason: error.description))
    }
  }

  /// Tries it in a child with the filter of this process.
  private static func survives(_ library: CryptoLibrary) -> Bool {
    guard let child = try? Kernel.fork() else { return false }
    if child == 0 {
      Glibc.signal(SIGALRM, SIG_DFL)
      alarm(trialSeconds)
      guard kernel_confine_to_signing() >= 0 else { _exit(1) }
      _exit(library.tryOut() ? 0 : 1)
    }
    var status: CInt = 0
    while waitpid(child, &status, 0) < 0 {
      guard errno == EINTR else { return false }
    }
    return status == 0
  }

  // MARK: Its form in the message `ready`

  init(_ message: HelperMessage) {
    let text = String(decoding: message.payload, as: UTF8.self)
    self =
      switch message.second {
      case 1: .libcrypto(text)
      case 2: .fallback(reason: text)
      default: .gnutls
      }
  }

  var message: (value: Int32, text: String) {
    switch self {
    case .gnutls: (0, "")
    case .libcrypto(let version): (1, version)
    case .fallback(let reason): (2, reason)
    }
  }

  // MARK: For the operator

  var isLibcrypto: Bool {
    if case .libcrypto = self { true } else { false }
  }

  /// `libcrypto (OpenSSL 3.0.19 27 Jan 2026)`, or `GnuTLS`.
  var name: String {
    if case .libcrypto(let version) = self { "libcrypto (\(version))" } else { "GnuTLS" }
  }

  var summary: String {
    switch self {
    case .gnutls: "RSA signatures by GnuTLS"
    case .libcrypto: "RSA signatures by \(name)"
    case .fallback(let reason): "RSA signatures by GnuTLS, which needs three times as long, because libcrypto cannot be used: \(reason)"
    }
  }

  /// - Throws: if the choice requires libcrypto, and it cannot be used.
  func check(_ choice: RSASignerChoice) throws(ConfigurationError) {
    guard choice == .libcrypto, case .fallback(let reason) = self else { return }
    throw .usage("--rsa-signer libcrypto: \(reason): install OpenSSL 3 (libssl3), or use --rsa-signer auto")
  }
}
