// BackendPauses: for which clients one of several servers is left out, and until when.
//
// After a failure the server is left out for a second, then for two, four, up to thirty. After that one session tries it again, and
// the others still leave it out: else all clients would wait for a server that does not exist any more. A refusal leaves it out for a
// second and no longer, and nobody leaves it out while one session tries it again.
//
// A server that learns the client's address may fail for that client only: it limits its rate, finds it in a DNS list, or waits for
// its reverse name. A stranger must not take the server from the others that way. So
// * each client (an IPv4 address or an IPv6 network of 64 bits) has a pause of its own;
// * only a client's first failure counts for all, and only if another client's first failure came before it and no 220 came between
//   them. A client is forgotten when it gets 220, or when `clientLimit` other clients have failed or tried the server after it: so a
//   stranger needs more addresses than that to go on;
// * the others leave the server out while one client tries it no longer than the pause that a failure would begin, and once for each
//   client and pause, but not for the client whose failure began the pause.

package struct BackendPauses {
  /// The number of clients that are remembered.
  package static let clientLimit = 64

  /// How long a server is left out.
  private struct Pause {
    private static let firstMilliseconds = 1_000
    private static let longestMilliseconds = 30_000

    private var until = 0
    /// 0 if there was no failure, or a refusal.
    private var length = 0
    /// Until when the other sessions leave the server out, because one tries it.
    private var triedUntil = 0

    /// The length of the pause that one more failure would begin.
    private var next: Int { length == 0 ? Pause.firstMilliseconds : min(2 * length, Pause.longestMilliseconds) }

    func isLeftOut(now: Int) -> Bool { until > now || triedUntil > now }

    /// True if it is not known whether the server serves again. The next session finds out.
    func isOver(now: Int) -> Bool { length > 0 && until <= now }

    /// - Returns: false if it has begun already: several sessions may find out at the same time, and that is one failure.
    mutating func begin(isRefusal: Bool, now: Int) -> Bool {
      guard until <= now else { return false }
      let chosen = isRefusal ? Pause.firstMilliseconds : next
      (until, length, triedUntil) = (now + chosen, isRefusal ? 0 : chosen, 0)
      return true
    }

    mutating func trialBegins(now: Int) { triedUntil = now + next }
    mutating func trialEnds() { triedUntil = 0 }
  }

  private struct Client {
    let network: IPNetwork
    var pause = Pause()
    var hasFailed = false
    /// True if the others have left the server out since the last pause for all, because this client tried it.
    var hasTried = false
  }

  private var pause = Pause()
  /// Sessions that try the server, where it does not learn the client's address.
  private var attempts = 0
  /// The client for whose attempt the others leave the server out.
  private var trying: IPNetwork?
  /// True if a client failed for the first time, and no 220 came after that.
  private var isSuspect = false
  /// The last one is the one that failed or tried last.
  private var clients: [Client] = []

  package init() {}

  /// - Parameters:
  ///   - client: whose address the server would learn; nil if it learns none.
  ///   - now: in `Clock` milliseconds.
  package func isLeftOut(for client: IPNetwork?, now: Int) -> Bool {
    if let place = place(of: client), clients[place].pause.isLeftOut(now: now) { return true }
    return pause.isLeftOut(now: now) || (attempts > 0 && pause.isOver(now: now))
  }

  /// A session begins to connect to the server, and waits for its greeting. `attemptEnded` follows, whatever comes of it.
  ///
  /// - Parameter client: whose address the server learns; nil if it learns none.
  package mutating func attemptBegins(for client: IPNetwork?, now: Int) {
    guard let client else {
      attempts += 1
      return
    }
    if let place = place(of: client), clients[place].pause.isOver(now: now) { clients[place].pause.trialBegins(now: now) }
    guard pause.isOver(now: now), !pause.isLeftOut(now: now) else { return }
    let place = remember(client)
    guard !clients[place].hasTried else { return }
    clients[place].hasTried = true
    pause.trialBegins(now: now)
    trying = client
  }

  package mutating func attemptEnded(for client: IPNetwork?) {
    guard let client else {
      attempts -= 1
      return
    }
    guard trying == client else { return }
    trying = nil
    pause.trialEnds()
  }

  /// It has greeted with 220.
  package mutating func answered(_ client: IPNetwork?) {
    pause = Pause()
    trying = nil
    isSuspect = false
    if let place = place(of: client) { clients.remove(at: place) }
  }

  /// - Parameters:
  ///   - isRefusal: true if it works and refuses to serve.
  ///   - client: the client, if the failure may concern that one only.
  package mutating func failed(isRefusal: Bool, only client: IPNetwork?, now: Int) {
    if let client {
      let place = remember(client)
      let isFirst = !clients[place].hasFailed
      clients[place].hasFailed = true
      _ = clients[place].pause.begin(isRefusal: isRefusal, now: now)
      guard isFirst else { return }
      defer { isSuspect = true }
      guard isSuspect else { return }
    }
    guard pause.begin(isRefusal: isRefusal, now: now) else { return }
    trying = nil
    // The others do not leave the server out once more for the one that has just tried it.
    for place in clients.indices { clients[place].hasTried = clients[place].network == client }
  }

  private func place(of client: IPNetwork?) -> Int? {
    guard let client else { return nil }
    return clients.firstIndex { $0.network == client }
  }

  /// Makes it the last one.
  ///
  /// - Returns: its place.
  private mutating func remember(_ client: IPNetwork) -> Int {
    let known = place(of: client).map { clients.remove(at: $0) }
    if clients.count == BackendPauses.clientLimit { clients.removeFirst() }
    clients.append(known ?? Client(network: client))
    return clients.count - 1
  }
}
