// SessionTickets: if sessions may be resumed (RFC 5077; RFC 8446, 4.6.1), and with which key.
//
// The key is a master key of the library: 64 octets, from which it derives a new key at fixed times, three lifetimes
// apart. So machines that share the file and have the same time accept the tickets of each other. Who has the master key
// can decrypt every TLS 1.2 session that began with a ticket: the file needs the same care as a private key, and a new
// content at least once a week.

import CGnuTLS
import Transport

/// If and how sessions may be resumed.
public struct SessionTickets: Hashable, Sendable {
  /// The lifetime of a ticket if no other is given, in seconds: that of the library.
  public static let defaultLifetimeSeconds = 21_600
  /// The number of octets in a file with a key.
  public static let keyLength = 64

  /// True if tickets are sent.
  public var isOn = false
  /// The file of the key; nil for a key of its own, which is forgotten with the credentials.
  public var keyFile: String?
  /// How long a ticket is accepted, in seconds.
  public var lifetimeSeconds = SessionTickets.defaultLifetimeSeconds

  /// No session is resumed.
  public static let off = SessionTickets()
  /// Sessions are resumed with a key of their own.
  public static let on = SessionTickets(isOn: true)

  /// Creates a setting; no file is read yet.
  public init(isOn: Bool = false, keyFile: String? = nil, lifetimeSeconds: Int = SessionTickets.defaultLifetimeSeconds) {
    self.isOn = isOn
    self.keyFile = keyFile
    self.lifetimeSeconds = lifetimeSeconds
  }
}

/// The key in memory, wiped when the value ends.
final class TicketKey {
  private var datum = gnutls_datum_t()
  private let lifetimeSeconds: Int
  /// True if users of the file's group may read it.
  private(set) var isExposed = false

  /// - Throws: `.badTicketKey`, `.unreadable`.
  init(_ tickets: SessionTickets, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    lifetimeSeconds = tickets.lifetimeSeconds
    guard let path = tickets.keyFile else {
      let code = gnutls_session_ticket_key_generate(&datum)
      guard code >= 0 else { throw .library(libraryText(code)) }
      return
    }
    let file = try CredentialFile(path, opening: opening)
    guard !file.isExposedToAll else { throw .badTicketKey(path: path, "every user may read it: chmod 600") }
    isExposed = file.isExposed
    var count = 0
    let code = file.withDatum { octets -> CInt in
      count = Int(octets.size)
      guard count == SessionTickets.keyLength else { return 0 }
      // Allocated by the library, and then overwritten.
      let code = gnutls_session_ticket_key_generate(&datum)
      if code >= 0, Int(datum.size) == count, let data = datum.data, let source = octets.data { data.update(from: source, count: count) }
      return code
    }
    guard code >= 0 else { throw .library(libraryText(code)) }
    guard count == SessionTickets.keyLength else {
      throw .badTicketKey(path: path, "\(count) octets, \(SessionTickets.keyLength) are needed: create it with openssl rand")
    }
  }

  deinit {
    guard let data = datum.data else { return }
    gnutls_memset(data, 0, Int(datum.size))
    shim_gnutls_free(data)
  }

  /// Lets a new session send and accept tickets; returns the library's code.
  func enable(_ session: gnutls_session_t) -> CInt {
    gnutls_db_set_cache_expiration(session, CInt(lifetimeSeconds))
    return gnutls_session_ticket_enable_server(session, &datum)
  }
}
