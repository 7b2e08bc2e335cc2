// KeyOptions: the options about private keys.

import ArgumentParser
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
