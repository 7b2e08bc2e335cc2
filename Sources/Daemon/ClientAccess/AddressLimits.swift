// AddressLimits: what one address may use, and the reasons to refuse it.

/// The limits of one IPv4 address, or of one IPv6 network of 64 bits. 0 means no limit.
package struct AddressLimits: Hashable, Sendable {
  /// Concurrent sessions; also the number of backend processes whose sessions have ended.
  package var connections = 50
  package var connectionsPerMinute = 0
  package var handshakesPerMinute = 0
  /// Penalty points.
  package var penalty = 50
  /// The networks to which these limits do not apply.
  package var exempt: [IPNetwork] = []

  package init() {}
}

/// The limit that an address has reached.
package enum AddressLimit: Hashable, Sendable, CaseIterable {
  case connections
  /// Its sessions have ended, but their backend processes have not.
  case backends
  case connectionsPerMinute
  case handshakesPerMinute
  case penalty
}

/// What a session costs its address, in penalty points. One point decays in `decaySeconds`.
package enum Penalty {
  /// One point decays in this time.
  package static let decaySeconds = 10
  /// A line that was answered as junk.
  package static let junk = 1
  /// A handshake that failed.
  package static let handshake = 1
  /// An AUTH command that was refused.
  package static let authentication = 2
  /// A session that was closed for what the client sent.
  package static let closed = 5
}
