// KeyOptions: the options about private keys.

import ArgumentParser
import Glibc
import Transport
import TransportTLS

struct KeyOptions: ParsableArguments {
  @Flag(help: "Keep the private keys in the process that serves clients, without a process of their own.")
  var keyInProcess = false

  @Option(
    help: ArgumentHelp(
      "Library that signs with RSA keys: libcrypto (OpenSSL 3, a third of the time), gnutls, or auto (libcrypto if it is usable).",
      valueName: "library"))
  var rsaSigner = RSASignerChoice.auto

  @Option(
    help: ArgumentHelp(
      "Append the secrets of all sessions to this file, to decrypt captured packets. Only for tests.", valueName: "file"))
  var debugKeylog: String?

  /// The checked choice.
  ///
  /// - Parameter isSingle: true if the process of the keys ends with one client. It takes longer to load libcrypto than it saves then.
  func rsaSigner(isSingle: Bool) throws(ConfigurationError) -> RSASignerChoice {
    guard !keyInProcess || rsaSigner != .libcrypto else {
      throw .usage("--rsa-signer libcrypto cannot be used with --key-in-process: the process that serves clients does not load libcrypto; remove one")
    }
    return isSingle && rsaSigner == .auto ? .gnutls : rsaSigner
  }

  /// Checks what `keyLog` needs, and creates nothing.
  func checkKeyLog() throws(ConfigurationError) {
    guard let debugKeylog else { return }
    var status = stat()
    if lstat(debugKeylog, &status) == 0 {
      _ = try keyLog()
    } else if let slash = debugKeylog.lastIndex(of: "/"), access(String(debugKeylog[...slash]), W_OK | X_OK) != 0 {
      throw .usage("--debug-keylog \(debugKeylog): \(SystemError.last("access"))")
    }
  }

  /// Opens the file, before the user is changed.
  func keyLog() throws(ConfigurationError) -> KeyLog? {
    guard let debugKeylog else { return nil }
    do {
      return try KeyLog(debugKeylog)
    } catch {
      throw .usage("--debug-keylog \(debugKeylog): \(error)")
    }
  }
}
