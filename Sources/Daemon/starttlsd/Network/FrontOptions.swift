// FrontOptions: the fronts that name the client with a PROXY header. Failure: a ConfigurationError.

import ArgumentParser
import ClientAccess

struct FrontOptions: ParsableArguments {
  @Option(
    name: .customLong("proxy-from"),
    help: ArgumentHelp(
      "Network of fronts, such as HAProxy, whose connections must begin with a PROXY header (version 1 or 2); may be repeated.",
      valueName: "network"))
  var networks: [String] = []

  /// The checked networks.
  func fronts() throws(ConfigurationError) -> [IPNetwork] {
    var fronts: [IPNetwork] = []
    for text in networks {
      do throws(NetworkError) {
        fronts.append(try IPNetwork(parsing: text))
      } catch {
        throw .usage("--proxy-from \(error)")
      }
    }
    return fronts
  }
}
