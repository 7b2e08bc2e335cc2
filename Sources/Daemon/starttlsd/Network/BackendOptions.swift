// BackendOptions: the options for servers that are reached by an address. Failure: a ConfigurationError.

import ArgumentParser
import Transport

struct BackendOptions: ParsableArguments {
  @Option(
    name: .customLong("backend"),
    help: ArgumentHelp(
      "Address of a server to connect to, in place of a program: host:port or unix:path. May be repeated: the next one is tried if one does not greet with 220.",
      valueName: "address"))
  var addresses: [String] = []

  @Option(
    help: """
      How the server learns the client's address: proxy-v2 or proxy-v1 (a PROXY header), transparent (the connection comes \
      from the client's address), or none. Required with --backend; with a program only none is possible, which withholds the address.
      """)
  var backendClient: BackendServers.ClientForm?

  @Option(help: ArgumentHelp("Timeout for a connection to a server.", valueName: "seconds"))
  var backendConnectTimeout = 10

  /// True if the server program is not given the client's address.
  var hidesClient: Bool { addresses.isEmpty && backendClient == .unnamed }

  /// The checked servers; nil without --backend.
  func servers(hasProgram: Bool) throws(ConfigurationError) -> BackendServers? {
    guard !addresses.isEmpty else {
      if let backendClient, !(backendClient == .unnamed && hasProgram) {
        throw .usage(
          """
          --backend-client needs --backend: add --backend with the server's address, or remove --backend-client; a server program can only \
          have --backend-client none
          """)
      }
      return nil
    }
    guard !hasProgram else { throw .usage("both --backend and a server program are given: remove one of them") }
    guard let backendClient else {
      throw .usage(
        """
        --backend needs --backend-client, which states how the server learns the client's address: proxy-v2 or proxy-v1 if it reads a \
        PROXY header; transparent if the connection is to come from the client's address; none only if the server relays no mail for \
        connections from this machine
        """)
    }
    guard (1...600).contains(backendConnectTimeout) else {
      throw .usage("--backend-connect-timeout \(backendConnectTimeout) is not possible: give a number of seconds from 1 to 600")
    }
    var resolved: [SocketAddress] = []
    for text in addresses {
      do {
        resolved += try SocketAddress.resolving(text).filter { !resolved.contains($0) }
      } catch {
        throw .of(error, "--backend \(error)")
      }
    }
    for address in resolved {
      if case .unix = address, backendClient == .transparent {
        throw .usage("--backend \(address): a Unix socket cannot be used with --backend-client transparent: use another form")
      }
      if address.port == 0 { throw .usage("--backend \(address): no server listens on port 0: give a port from 1 to 65535") }
    }
    return BackendServers(addresses: resolved, client: backendClient, connectMilliseconds: backendConnectTimeout * 1000)
  }
}

/// Servers that are reached by an address.
struct BackendServers {
  /// How a server learns the client's address.
  enum ClientForm: String, ExpressibleByArgument, CaseIterable {
    case proxyV2 = "proxy-v2"
    case proxyV1 = "proxy-v1"
    case transparent
    /// It does not.
    case unnamed = "none"
  }

  /// In the order in which they are tried.
  let addresses: [SocketAddress]
  let client: ClientForm
  let connectMilliseconds: Int

  /// The octets to send before anything else.
  ///
  /// - Returns: nil if the client has no address that the server could be given.
  func header(from peer: SocketAddress, to local: SocketAddress?, tls: TLSFacts?, identifier: String) -> [UInt8]? {
    let header = ProxyHeader(source: peer, destination: local)
    switch client {
    case .proxyV2: return header.octets(.two, tls: tls, identifier: identifier)
    case .proxyV1: return header.octets(.one, tls: tls, identifier: identifier)
    case .transparent: return peer.port == nil ? nil : []
    case .unnamed: return []
    }
  }
}

extension Configuration {
  /// Checks that connections may come from the clients' addresses, if they are to. Call it as the user that serves.
  func checkForeignSource() throws(ConfigurationError) {
    guard case .transparent = backend.servers?.client else { return }
    do {
      try SocketAddress.checkForeignSource()
    } catch {
      throw .system(
        """
        --backend-client transparent is not possible: \(error): start starttlsd with CAP_NET_ADMIN (under systemd \
        AmbientCapabilities=CAP_NET_ADMIN and User=, without --user)
        """)
    }
  }
}
