// AddressTable: what each address uses now and has used recently, and whether it may connect.
//
// An IPv6 client counts with its network of 64 bits, an IPv4-mapped address as IPv4. Each event takes constant time.
// Memory is bounded: an address with sessions or backend processes is kept, and their number is limited elsewhere; of
// the others the `idleLimit` most recent ones are kept, for each family separately. So a client with many IPv6 networks
// can displace only what is known of other idle IPv6 networks.

package import Transport

package struct AddressTable {
  /// The number of addresses without sessions that are kept, for each family.
  package static let idleLimit = 16_384

  private let limits: AddressLimits
  private let connectionRate: BucketSize
  private let handshakeRate: BucketSize
  private let penalty: BucketSize
  private var exempt = NetworkTable<Bool>()
  private var ipv4: RecentAddresses
  private var ipv6: RecentAddresses

  package init(_ limits: AddressLimits, idleLimit: Int = AddressTable.idleLimit) {
    self.limits = limits
    connectionRate = .perMinute(limits.connectionsPerMinute)
    handshakeRate = .perMinute(limits.handshakesPerMinute)
    penalty = BucketSize(capacity: limits.penalty, microseconds: Penalty.decaySeconds * 1_000_000)
    for network in limits.exempt { exempt.add(network, true) }
    ipv4 = RecentAddresses(idleLimit: idleLimit)
    ipv6 = RecentAddresses(idleLimit: idleLimit)
  }

  /// True if no limit applies to this client.
  package func isExempt(_ client: SocketAddress) -> Bool {
    if case .unix = client { return true }
    return exempt.smallest(containing: client) ?? false
  }

  /// The number of addresses that are known, for each family.
  package var counts: (ipv4: Int, ipv6: Int) { (ipv4.count, ipv6.count) }

  // MARK: Events. `now` is in `Clock` milliseconds.

  /// A client has connected: counts its session, or returns the limit that does not allow it. A refused connection is
  /// not counted.
  package mutating func admit(_ client: SocketAddress, now: Int) -> AddressLimit? {
    let (limits, connectionRate, handshakeRate, penalty) = (self.limits, self.connectionRate, self.handshakeRate, self.penalty)
    return use(client, now: now) { use in
      if use.penalty.isFull(penalty, now: now) { return .penalty }
      if limits.connections > 0 {
        if use.sessions >= limits.connections { return .connections }
        if use.backends >= limits.connections { return .backends }
      }
      if use.connections.isFull(connectionRate, now: now) { return .connectionsPerMinute }
      if use.handshakes.isFull(handshakeRate, now: now) { return .handshakesPerMinute }
      use.connections.add(1, connectionRate, now: now)
      use.sessions += 1
      return nil
    } ?? nil
  }

  /// An admitted client's session has ended.
  package mutating func sessionEnded(_ client: SocketAddress, now: Int) {
    use(client, now: now) { $0.sessions -= 1 }
  }

  /// A backend process of this client continues without its session.
  package mutating func backendRemains(_ client: SocketAddress, now: Int) {
    use(client, now: now) { $0.backends += 1 }
  }

  /// Such a process has ended.
  package mutating func backendEnded(_ client: SocketAddress, now: Int) {
    use(client, now: now) { $0.backends -= 1 }
  }

  /// A TLS handshake has started.
  package mutating func handshakeStarted(_ client: SocketAddress, now: Int) {
    let size = handshakeRate
    use(client, now: now) { $0.handshakes.add(1, size, now: now) }
  }

  /// The client gets penalty points.
  package mutating func penalise(_ client: SocketAddress, points: Int, now: Int) {
    let size = penalty
    guard points > 0 else { return }
    use(client, now: now) { $0.penalty.add(points, size, now: now) }
  }

  /// Changes what is known of a client's address; nil if no limit applies to it.
  @discardableResult
  private mutating func use<Result>(_ client: SocketAddress, now: Int, _ change: (inout AddressUse) -> Result) -> Result? {
    guard !isExempt(client), let network = IPNetwork(of: client, length: 64) else { return nil }
    return network.isIPv4
      ? ipv4.update(network.firstHalf, now: now, change) : ipv6.update(network.firstHalf, now: now, change)
  }
}

/// What one address uses now and has used recently.
struct AddressUse {
  var sessions = 0
  /// Backend processes whose sessions have ended.
  var backends = 0
  var connections = LeakyBucket()
  var handshakes = LeakyBucket()
  var penalty = LeakyBucket()

  /// It must be kept.
  var isActive: Bool { sessions > 0 || backends > 0 }

  /// It says nothing any more.
  func isBlank(now: Int) -> Bool {
    !isActive && connections.isEmpty(now: now) && handshakes.isEmpty(now: now) && penalty.isEmpty(now: now)
  }
}
