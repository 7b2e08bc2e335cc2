// UnusableServerName: a client that asks for a server name which is no host name gets the default certificate.
//
// Senders ask for `mail_server`, `::1` or `localhost:25`. GnuTLS ends such a handshake with the alert illegal_parameter
// while it reads the ClientHello, and no setting prevents that, neither in 3.7.9 nor in 3.8.9. So the handshake hook looks
// at the ClientHello before the library does. A name that the library would refuse gives this one session a server_name
// extension of ours in place of the library's; it ignores what it receives. No octet of the ClientHello is changed, and
// usable names are left to the library.
//
// The library lets nobody register its own extensions, and 0 is server_name. It compares the number as an `int` and then
// keeps 16 bits of it: 0x10000 is registered and found as 0. A library that refuses the number, or keeps all of it, ends
// the handshake as before; then the failure says which name it was.

import CGnuTLS

/// What the server_name extension of a ClientHello asks for (RFC 6066 section 3). Only its first host name counts.
enum RequestedServerName: Hashable {
  /// No host name, or a list that cannot be parsed: the library judges it.
  case none
  /// A name that can choose a certificate.
  case usable
  /// An empty name or one that is no DNS name: at most the first 255 octets of it. The library refuses those with
  /// octets other than letters, digits, `-` and `.`, and the empty one.
  case unusable([UInt8], isRefusedByLibrary: Bool)

  /// The longest part of an unusable name that is kept, in octets.
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
  /// Two octets as a number.
  fileprivate func number(at index: Int) -> Int { Int(self[index]) << 8 | Int(self[index + 1]) }
}

extension GnuTLSStream {
  /// Has every ClientHello looked at before the library reads it. The session must be connected to its stream.
  func watchServerName() {
    let type = GNUTLS_HANDSHAKE_CLIENT_HELLO.rawValue
    gnutls_handshake_set_hook_function(session, type, GNUTLS_HOOK_PRE) { session, _, _, incoming, message in
      guard incoming != 0, let session, let message, let context = gnutls_transport_get_ptr(session) else { return 0 }
      // What cannot be parsed is the library's to refuse.
      _ = gnutls_ext_raw_parse(
        context,
        { context, type, data, count in
          guard type == 0, let context else { return 0 }
          let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
          stream.requested(RequestedServerName(UnsafeBufferPointer(start: data, count: Int(count))))
          return 0
        }, message, UInt32(GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO))
      return 0
    }
  }

  private func requested(_ name: RequestedServerName) {
    guard case .unusable(let octets, let isRefusedByLibrary) = name else { return }
    unusableServerName = octets
    if isRefusedByLibrary, toleratesServerNames { replaceServerName() }
  }

  /// Puts an extension that ignores what it receives in the place of the library's server_name.
  private func replaceServerName() {
    // Once: the ClientHello after a HelloRetryRequest finds the first.
    toleratesServerNames = false
    _ = gnutls_session_ext_register(
      session, "server_name", 0x10000, GNUTLS_EXT_MANDATORY, { _, _, _ in 0 }, nil, nil, nil, nil, 0)
  }
}
