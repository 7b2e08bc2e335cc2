// ClientConnection: descriptors 0 and 1 of the proxy, and the peer's address.

import Glibc
import Transport

/// The client's connection in clear, and its address for the log.
struct ClientConnection: ~Copyable {
  var client: PlaintextClient
  /// `192.0.2.1:25`, or `unknown`.
  let peer: String
  let local: String?

  /// Takes ownership of standard input and output. Under every TCP server both are one socket.
  ///
  /// - Parameter isNamed: true if there will be a log, which needs the peer's address.
  static func take(isNamed: Bool) throws(SystemError) -> ClientConnection {
    let input = Descriptor(adopting: STDIN_FILENO)
    let output = Descriptor(adopting: STDOUT_FILENO)
    let peer = isNamed ? ClientConnection.peer(input) : "unknown"
    let local = isNamed ? ClientConnection.local(input) : nil
    // A reply in two pieces must not wait for the client's acknowledgement. Sockets other than TCP have no such delay.
    try? output.sendWithoutDelay()
    let client: PlaintextClient
    if try isOneSocket(input, output) {
      _ = consume output
      client = try PlaintextClient(socket: input)
    } else {
      client = try PlaintextClient(input: input, output: output)
    }
    return ClientConnection(client: client, peer: peer, local: local)
  }

  private static func isOneSocket(_ input: borrowing Descriptor, _ output: borrowing Descriptor) throws(SystemError) -> Bool {
    let first = try Kernel.status(input.number)
    let second = try Kernel.status(output.number)
    return first.st_mode & S_IFMT == S_IFSOCK && first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  private static func local(_ input: borrowing Descriptor) -> String? {
    guard let address = try? input.localAddress(), address.port != nil else { return nil }
    return SessionLine.peer(address)
  }

  /// The environment set by the TCP server takes precedence over the socket, which may come from a relay.
  private static func peer(_ input: borrowing Descriptor) -> String {
    for prefix in ["TCP", "SSL"] {
      guard let host = address(prefix + "REMOTEIP") else { continue }
      guard let port = address(prefix + "REMOTEPORT") else { return host }
      return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
    if let address = try? input.peerAddress(), address.port != nil { return SessionLine.peer(address) }
    return "unknown"
  }

  /// The value of a variable if it looks like an address or a port; other values do not go into the log.
  private static func address(_ name: String) -> String? {
    guard let value = ProcessEnvironment.value(name), (1...64).contains(value.utf8.count) else { return nil }
    let isPlain = value.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "%"):
        true
      default: false
      }
    }
    return isPlain ? value : nil
  }
}
