// SessionTickets: if sessions may be resumed (RFC 5077; RFC 8446, 4.6.1), and with which key.
//
// The key is a master key of the library: 64 octets, from which it derives a new key at fixed times, three lifetimes
// apart; it also accepts tickets of the derived key before. So machines that share the file and have the same time accept
// the tickets of each other. Whoever has the master key can compute all derived keys, and so decrypt every TLS 1.2 session that
// began with a ticket: the file needs the same care as a private key, and a new content at least once a week.
//
// A master key of our own is replaced after a week. The library has one master key for a session. So for one more lifetime a
// session whose client shows a ticket of the replaced key gets that key, see TicketKeys.

import CGnuTLS
import Glibc
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

/// The key that encrypts tickets and, for one lifetime after its replacement, the one before it.
struct TicketKeys {
  /// The time after which a key of our own is replaced: a week.
  static let ageMilliseconds = 604_800_000

  let current: TicketKey
  private let previous: TicketKey?
  /// When `current` was made, by the clock of `Clock.now()`.
  private let since: Int

  /// - Throws: `.badTicketKey`, `.unreadable`.
  init(_ tickets: SessionTickets, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    current = try TicketKey(tickets, opening: opening)
    previous = nil
    since = Clock.now()
  }

  /// A new key takes the place of that one.
  init(replacing earlier: TicketKeys) throws(TLSCredentialsError) {
    current = try TicketKey(SessionTickets(isOn: true, lifetimeSeconds: earlier.current.lifetimeSeconds), opening: nil)
    previous = earlier.current
    since = Clock.now()
  }

  /// When the key is to be replaced, by the clock of `Clock.now()`; nil for a key from a file.
  var replacement: Int? { current.isOwn ? since + TicketKeys.ageMilliseconds : nil }

  /// The key before, if a ticket is one of its tickets and may still be used.
  func previousKey(of ticket: UnsafeBufferPointer<UInt8>) -> TicketKey? {
    guard let previous, Clock.now() < since + previous.lifetimeSeconds * 1_000, previous.made(ticket) else { return nil }
    return previous
  }
}

/// The key in memory, wiped when the value ends.
final class TicketKey {
  private var datum = gnutls_datum_t()
  let lifetimeSeconds: Int
  /// True if it was made here; false if it comes from a file.
  let isOwn: Bool
  /// True if users of the file's group may read it.
  private(set) var isExposed = false

  /// - Throws: `.badTicketKey`, `.unreadable`.
  init(_ tickets: SessionTickets, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    lifetimeSeconds = tickets.lifetimeSeconds
    isOwn = tickets.keyFile == nil
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

  /// True if a ticket has the name of a key that the library derives from this one now, or that it derived before that: the
  /// first 16 octets of SHA3-512 of the number of the period and the master key (lib/stek.c of GnuTLS). A library that
  /// derives them in another way has none of these names; then the ticket leads to a full handshake.
  fileprivate func made(_ ticket: UnsafeBufferPointer<UInt8>) -> Bool {
    let nameLength = 16
    guard ticket.count >= nameLength, let data = datum.data else { return false }
    let period = UInt64(max(0, time(nil))) / UInt64(3 * lifetimeSeconds)
    return [period, period &- 1].contains { number in
      var input = withUnsafeBytes(of: number.bigEndian) { Array($0) } + UnsafeBufferPointer(start: data, count: Int(datum.size))
      defer { gnutls_memset(&input, 0, input.count) }
      var derived = [UInt8](repeating: 0, count: 64)
      defer { gnutls_memset(&derived, 0, derived.count) }
      guard gnutls_hash_fast(GNUTLS_DIG_SHA3_512, input, input.count, &derived) >= 0 else { return false }
      return derived.prefix(nameLength).elementsEqual(ticket.prefix(nameLength))
    }
  }
}

extension GnuTLSStream {
  /// The client has sent a ticket (RFC 5077, 3.2) in the extension with this number, or several (RFC 8446, 4.2.11).
  func offered(_ octets: UnsafeBufferPointer<UInt8>, in number: UInt32) {
    guard let keys = credentials.ticketKeys else { return }
    if number == 35, let key = keys.previousKey(of: octets) { return use(key) }
    guard number == 41, octets.count > 2 else { return }
    let end = min(octets.count, 2 + octets.number(at: 0))
    var position = 2
    while position + 2 <= end {
      let next = position + 2 + octets.number(at: position)
      guard next <= end else { return }
      if let key = keys.previousKey(of: UnsafeBufferPointer(rebasing: octets[position + 2..<next])) { return use(key) }
      // After the identity, four octets with its age.
      position = next + 4
    }
  }

  /// Before the library reads the tickets. If it has read some, as after a HelloRetryRequest, it refuses another key.
  private func use(_ key: TicketKey) { _ = key.enable(session) }
}
