// ImplicitOptions: the options about clients that begin with TLS (RFC 8314, 3.3).

import ArgumentParser
import Transport

struct ImplicitOptions: ParsableArguments {
  @Option(
    name: .customLong("listen-tls"),
    help: ArgumentHelp("Address to listen on for clients that begin with TLS, such as *:465; may be repeated.", valueName: "address:port"))
  var listenTLS: [String] = []

  @Flag(name: .customLong("implicit-tls"), help: "With --inetd: the client begins with TLS.")
  var implicitTLS = false

  /// True if the client of --inetd begins with TLS.
  func isClientImplicit(_ serviceManager: ServiceManagerOptions) throws(ConfigurationError) -> Bool {
    guard !implicitTLS || serviceManager.inetd else { throw .usage("--implicit-tls is for --inetd: name the addresses with --listen-tls") }
    return implicitTLS
  }
}

extension ListeningAddress {
  /// The addresses that an option names.
  static func resolving(_ texts: [String], isImplicit: Bool) throws(ConfigurationError) -> [ListeningAddress] {
    var addresses: [ListeningAddress] = []
    for text in texts {
      do {
        addresses += try SocketAddress.resolving(text).map { ListeningAddress($0, isImplicit: isImplicit) }
      } catch {
        throw .of(error, "\(isImplicit ? "--listen-tls" : "--listen") \(text): \(error)")
      }
    }
    return addresses
  }
}

extension PassedDescriptors.Socket {
  /// True if its clients begin with TLS: it has the name of that service in services(5), as FileDescriptorName= gives it.
  var isImplicit: Bool { name == "submissions" || name == "smtps" }
}
