// AddressLimits: what one address may use, and the reasons to refuse it.

/// The limits of one IPv4 address, or of one IPv6 network of 64 bits. 0 means no limit.
public struct AddressLimits: Hashable, Sendable {
  /// Concurrent sessions; also the number of backend processes whose sessions have ended.
  public var connections = 50
  public var connectionsPerMinute = 0
  public var handshakesPerMinute = 0
  /// Penalty points.
  public var penalty = 50
  /// The networks to which these limits do not apply.
  public var exempt: [IPNetwork] = []

  public init() {}
}

/// The limit that an address has reached.
public enum AddressLimit: Hashable, Sendable, CaseIterable {
  case connections
  /// Its sessions have ended, but their backend processes have not.
  case backends
  case connectionsPerMinute
  case handshakesPerMinute
  case penalty
}

/// What a session costs its address, in penalty points. One point decays in `decaySeconds`.
public enum Penalty {
  /// One point decays in this time.
  public static let decaySeconds = 10
  /// A line that was answered as junk.
  public static let junk = 1
  /// A handshake that failed.
  public static let handshake = 1
  /// An AUTH command that was refused.
  public static let authentication = 2
  /// A session that was closed for what the client sent.
  public static let closed = 5
}
