// KeyOptions: the options about private keys.

import ArgumentParser
import Transport
import TransportTLS

struct KeyOptions: ParsableArguments {
  @Flag(help: "Keep the private keys in the process that serves clients, without a process of their own.")
  var keyInProcess = false

  @Option(
    help: ArgumentHelp(
      "Append the secrets of all sessions to this file, to decrypt captured packets. Only for tests.", valueName: "file"))
  var debugKeylog: String?

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
