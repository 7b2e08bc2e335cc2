// Address text: `host:port` as an operator writes it.
//
//   192.0.2.1:25       one IPv4 address
//   [2001:db8::1]:25   one IPv6 address
//   *:25  :25          all addresses of this machine, IPv4 and IPv6
//   0.0.0.0:25         all IPv4 addresses
//   localhost:25       a name, which may have several addresses (only where names are allowed)
//   unix:/run/smtp     a Unix socket
//
// Failure: an `AddressError`, whose text states what was expected.

import CKernel
import Glibc

/// An address that cannot be used. The text is for the operator.
package struct AddressError: Error, Hashable, Sendable, CustomStringConvertible {
  /// One line: the given text and what is wrong with it.
  package let description: String
  /// The name could not be looked up now; the text may be right.
  package let isTemporary: Bool

  init(_ text: String, _ trouble: String, isTemporary: Bool = false) {
    self.description = "'\(text)': \(trouble)"
    self.isTemporary = isTemporary
  }
}

extension SocketAddress {
  /// Parses a numeric address, see the table above. Names are rejected.
  ///
  /// ```swift
  /// let address = try SocketAddress(parsing: "[::1]:25")
  /// ```
  package init(parsing text: String) throws(AddressError) {
    switch try AddressText(text) {
    case .path(let path): self = .unix(path)
    case .every(let port): self = .any(port: port)
    case .host(let host, let port):
      guard let address = SocketAddress(numeric: host, port: port) else {
        throw AddressError(text, "expected an address in numbers, such as 127.0.0.1:25, [::1]:25 or *:25")
      }
      self = address
    }
  }

  /// All addresses that a text stands for, in the order in which to try them. Names are resolved, which can take
  /// seconds: call this at start, not in an event loop.
  package static func resolving(_ text: String) throws(AddressError) -> [SocketAddress] {
    let parsed = try AddressText(text)
    guard case .host(let host, let port) = parsed, SocketAddress(numeric: host, port: port) == nil else {
      return [try SocketAddress(parsing: text)]
    }
    var hints = addrinfo()
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, "\(port)", &hints, &list)
    guard code == 0 else {
      throw AddressError(text, String(cString: gai_strerror(code)), isTemporary: [EAI_AGAIN, EAI_SYSTEM, EAI_MEMORY].contains(code))
    }
    defer { freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var entry = list
    while let current = entry {
      let octets = UnsafeRawBufferPointer(
        start: current.pointee.ai_addr, count: Int(current.pointee.ai_addrlen))
      if let address = SocketAddress.read(octets, octets.count), !addresses.contains(address) {
        addresses.append(address)
      }
      entry = current.pointee.ai_next
    }
    guard !addresses.isEmpty else { throw AddressError(text, "the name has no address") }
    return addresses
  }

  /// Parses a numeric IPv4 or IPv6 address; nil if it is none. A scope (`fe80::1%eth0`) is the name or the number of an
  /// interface.
  package init?(numeric host: String, port: UInt16) {
    var four = SIMD4<UInt8>()
    if inet_pton(AF_INET, host, &four) == 1 {
      self = .ipv4(four, port: port)
      return
    }
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    var sixteen = SIMD16<UInt8>()
    guard let first = parts.first, inet_pton(AF_INET6, String(first), &sixteen) == 1 else { return nil }
    var scope: UInt32 = 0
    if parts.count == 2 {
      scope = UInt32(parts[1]) ?? if_nametoindex(String(parts[1]))
      guard scope != 0 else { return nil }
    }
    self = .ipv6(sixteen, port: port, scope: scope)
  }
}

/// The parts of an address text.
private enum AddressText {
  /// `host:port`, without the brackets.
  case host(String, port: UInt16)
  /// `*:port` or `:port`.
  case every(port: UInt16)
  /// `unix:path`.
  case path(String)

  init(_ text: String) throws(AddressError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard !path.isEmpty, path.utf8.count <= 107, !path.utf8.contains(0) else {
        throw AddressError(text, "a Unix socket's path has 1 to 107 octets")
      }
      self = .path(path)
      return
    }
    guard let colon = text.lastIndex(of: ":") else {
      throw AddressError(text, "expected host:port, such as 127.0.0.1:25, [::1]:25 or *:25")
    }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let port = UInt16(digits) else {
      throw AddressError(text, "expected a port from 0 to 65535 after the last colon")
    }
    var host = text[..<colon]
    if host.isEmpty || host == "*" {
      self = .every(port: port)
      return
    }
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      guard host.contains(":") else { throw AddressError(text, "brackets are for IPv6 addresses") }
    } else if host.contains(":") {
      throw AddressError(text, "an IPv6 address needs brackets: [\(host)]:\(port)")
    }
    guard !host.isEmpty, !host.utf8.contains(0) else { throw AddressError(text, "the host is missing") }
    self = .host(String(host), port: port)
  }
}
