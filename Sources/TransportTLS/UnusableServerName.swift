// UnusableServerName: a client that requests a server name that is not a host name gets the default certificate.
//
// Some senders request `mail_server`, `::1` or `localhost:25`. GnuTLS ends such a handshake with the alert
// illegal_parameter while it reads the ClientHello. No setting prevents that, neither in 3.7.9 nor in 3.8.9. The
// handshake hook therefore examines the ClientHello before the library does. If the library would refuse the name, our
// own server_name extension replaces the library's in this session; it ignores its input. The octets of the ClientHello
// are not changed, and the library handles usable names.
//
// The library does not let an application replace its own extensions, and server_name has number 0. But it compares the
// number as an `int` and then keeps 16 bits: 0x10000 is registered and found as 0. A library that refuses this number,
// or keeps all bits, ends the handshake as before; the failure text then contains the name.

import CGnuTLS

/// The request in the server_name extension of a ClientHello (RFC 6066, 3). Only its first host name counts.
enum RequestedServerName: Hashable {
  /// No host name, or a list that cannot be parsed: the library decides.
  case none
  /// A name that can choose a certificate.
  case usable
  /// An empty name, or one that is not a DNS name: at most its first 255 octets. The library refuses the empty name and
  /// names with octets other than letters, digits, `-` and `.`.
  case unusable([UInt8], isRefusedByLibrary: Bool)

  /// The maximum length of an unusable name that is kept, in octets.
  static let limit = 255

  /// - Parameter octets: the extension's contents.
  init(_ octets: UnsafeBufferPointer<UInt8>) {
    self = .none
    guard octets.count > 2, octets.number(at: 0) == octets.count - 2 else { return }
    var position = 2
    while octets.count - position >= 3 {
      let name = position + 3..<position + 3 + octets.number(at: position + 1)
      guard name.upperBound <= octets.count else { return }
      if octets[position] == 0 {
        self = RequestedServerName(name: UnsafeBufferPointer(rebasing: octets[name]))
        return
      }
      position = name.upperBound
    }
  }

  private init(name: UnsafeBufferPointer<UInt8>) {
    guard !isDNSName(String(decoding: name, as: UTF8.self)) else {
      self = .usable
      return
    }
    let isRefused =
      name.isEmpty
      || !name.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
          true
        default: false
        }
      }
    self = .unusable(Array(name.prefix(RequestedServerName.limit)), isRefusedByLibrary: isRefused)
  }
}

extension UnsafeBufferPointer<UInt8> {
  /// Two octets as a number, in network order.
  func number(at index: Int) -> Int { Int(self[index]) << 8 | Int(self[index + 1]) }
}

extension GnuTLSStream {
  /// Examines a ClientHello before the library reads it, see HandshakeWatch.swift. If it cannot be parsed, the library
  /// refuses it.
  func examineHello(_ message: UnsafePointer<gnutls_datum_t>) {
    _ = gnutls_ext_raw_parse(
      Unmanaged.passUnretained(self).toOpaque(),
      { context, type, data, count in
        guard let context else { return 0 }
        let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
        let octets = UnsafeBufferPointer(start: data, count: Int(count))
        if type == 0 { stream.requested(RequestedServerName(octets)) } else { stream.offered(octets, in: type) }
        return 0
      }, message, UInt32(GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO))
  }

  private func requested(_ name: RequestedServerName) {
    guard case .unusable(let octets, let isRefusedByLibrary) = name else { return }
    unusableServerName = octets
    if isRefusedByLibrary, toleratesServerNames { replaceServerName() }
  }

  /// Replaces the library's server_name extension with one that ignores its input.
  private func replaceServerName() {
    // Only once: after a HelloRetryRequest the second ClientHello finds the extension of the first.
    toleratesServerNames = false
    _ = gnutls_session_ext_register(
      session, "server_name", 0x10000, GNUTLS_EXT_MANDATORY, { _, _, _ in 0 }, nil, nil, nil, nil, 0)
  }
}
