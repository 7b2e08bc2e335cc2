// CredentialLoading: loads the certificates, keys, responses, issuers and lists of a TLS server, one file after the other.
//
// Contract: each step reads one file, verifies one revocation list, reads some of its entries, or makes the certificates of one
// server name ready. So an event loop can go on between two steps, however many files there are.
//
// Failure: a TLSCredentialsError, which ends the loading.

/// What to load, see `TLSCredentials.init`.
package struct CredentialRequest {
  var pairs: [TLSCredentials.Pair]
  var others: [TLSCredentials.Pair]
  var named: [String: [TLSCredentials.Pair]]
  var responses: [String]
  var clients: ClientCertificates
  var isDateChecked: Bool
  var isKeyTried: Bool
  var tickets: SessionTickets
  /// What is served until now. A certificate in it that has expired since is no error.
  var earlier: TLSCredentials?
  /// True if a key of tickets that was made here is made again, so that older tickets are refused.
  var replacesTicketKey: Bool

  package init(
    pairs: [TLSCredentials.Pair], others: [TLSCredentials.Pair] = [], named: [String: [TLSCredentials.Pair]] = [:],
    responses: [String] = [], clients: ClientCertificates = .ignored, isDateChecked: Bool = true, isKeyTried: Bool = true,
    tickets: SessionTickets = .off, earlier: TLSCredentials? = nil, replacesTicketKey: Bool = false
  ) {
    self.pairs = pairs
    self.others = others
    self.named = named
    self.responses = responses
    self.clients = clients
    self.isDateChecked = isDateChecked
    self.isKeyTried = isKeyTried
    self.tickets = tickets
    self.earlier = earlier
    self.replacesTicketKey = replacesTicketKey
  }
}

/// Credentials that are being loaded. Use it until `next` returns them.
package final class CredentialLoading {
  private typealias Step = () throws(TLSCredentialsError) -> Void

  private(set) var request: CredentialRequest
  private let opening: (any CredentialOpening)?
  private let keys: (any KeyHolding)?
  private(set) var certificates = LoadedCertificates()
  private(set) var revoked = RevokedCertificates()
  private(set) var ticketKeys: TicketKeys?
  /// nil until all steps are done.
  private(set) var names: ServerNames?
  private let issuers = TrustedIssuers()
  private var plan: ServerNamePlan?
  private var sets: [CertificateSet] = []
  private var position = (phase: Phase.certificates, index: 0)
  private let pairs: [(pair: TLSCredentials.Pair, use: Use)]
  private var issuerFiles: [String] = []
  /// The lists of a file that are not added yet, the last one first.
  private var lists: [[UInt8]] = []

  private enum Use {
    case fallback
    case named(String)
    case other
  }

  /// What the steps do, in this order.
  private enum Phase: Int {
    case certificates, responses, choice, issuers, revocations, sets, end
  }

  /// - Parameters:
  ///   - opening: opens each file; nil to open it by its path.
  ///   - keys: the keys that another process holds; nil to read the keys here.
  package init(
    _ request: CredentialRequest, opening: (any CredentialOpening)?, keys: (any KeyHolding)?
  ) throws(TLSCredentialsError) {
    guard !request.pairs.isEmpty || !request.others.isEmpty || !request.named.isEmpty else { throw .noCertificate }
    self.request = request
    self.opening = opening
    self.keys = keys
    pairs =
      request.pairs.map { ($0, .fallback) }
      + request.named.keys.sorted().flatMap { name in (request.named[name] ?? []).map { ($0, .named(name)) } }
      + request.others.map { ($0, .other) }
  }

  /// Takes one step.
  ///
  /// - Parameter earlier: what is served now. Its key of tickets may have been replaced since the last step.
  /// - Returns: the credentials after the last one; nil before.
  package func next(earlier: TLSCredentials?) throws(TLSCredentialsError) -> TLSCredentials? {
    request.earlier = earlier
    return try hasMore() ? nil : TLSCredentials(self)
  }

  /// Takes one step; false after the last one.
  func hasMore() throws(TLSCredentialsError) -> Bool {
    let index = position.index
    guard index < count(of: position.phase) else {
      position = (Phase(rawValue: position.phase.rawValue + 1) ?? .end, 0)
      return try begin()
    }
    position.index += 1
    switch position.phase {
    case .certificates: try load(pairs[index])
    case .responses: try certificates.staple(request.responses[index], isFileRequired: request.isDateChecked, opening: opening)
    case .issuers: issuers.add(optional: try CredentialFile(issuerFiles[index], opening: opening))
    case .revocations:
      try addList(request.clients.revocations[index])
      if lists.isEmpty, !revoked.isReading { try revoked.end(request.clients.revocations[index]) } else { position.index -= 1 }
    case .sets: sets.append(try CertificateSet(plan?.lists[index] ?? [], issuers: issuers))
    case .choice, .end: break
    }
    return position.phase != .end
  }

  /// The number of steps of a phase.
  private func count(of phase: Phase) -> Int {
    switch phase {
    case .certificates: pairs.count
    case .responses: request.responses.count
    case .issuers: issuerFiles.count
    case .revocations: request.clients.request == .ignored ? 0 : request.clients.revocations.count
    case .sets: plan?.lists.count ?? 0
    case .choice, .end: 0
    }
  }

  /// What is done once between two phases.
  private func begin() throws(TLSCredentialsError) -> Bool {
    switch position.phase {
    case .certificates, .responses: break
    case .choice:
      try certificates.checkResponses(isRequired: request.isDateChecked)
      try certificates.choose()
      plan = ServerNamePlan(defaults: certificates.defaults, others: certificates.others, given: certificates.named)
    case .issuers: try beginIssuers()
    case .revocations:
      if case .files(_, let folder) = request.clients.trust { try checkIssuers(of: folder) }
      if case .folder(let folder) = request.clients.trust { try checkIssuers(of: folder) }
    case .sets: certificates.warnings += revoked.warnings
    case .end:
      ticketKeys = request.tickets.isOn ? try makeTicketKeys() : nil
      if let path = request.tickets.keyFile, ticketKeys?.current.isExposed == true {
        certificates.warnings.append(LoadedCertificates.exposed(path))
      }
      if let plan { names = ServerNames(plan, sets) }
      return false
    }
    return true
  }

  private func load(_ entry: (pair: TLSCredentials.Pair, use: Use)) throws(TLSCredentialsError) {
    func pair() throws(TLSCredentialsError) -> LoadedPair {
      try LoadedPair(
        entry.pair, isDateChecked: request.isDateChecked, isKeyTried: request.isKeyTried, earlier: request.earlier?.served ?? [], opening: opening,
        keys: keys)
    }
    switch entry.use {
    case .fallback: certificates.add(try pair())
    case .named(let name): certificates.add(try pair(), for: name)
    case .other: try certificates.addOther(pair)
    }
  }

  /// Goes on with the lists of a file: reads the file, begins a list, or reads some of its entries.
  private func addList(_ path: String) throws(TLSCredentialsError) {
    if revoked.isReading { return try revoked.readOn() }
    guard let list = lists.popLast() else {
      return lists = try RevocationList.all(in: CredentialFile(path, opening: opening), path: path).reversed()
    }
    try revoked.begin(list, of: path, signedBy: issuers)
  }

  private func makeTicketKeys() throws(TLSCredentialsError) -> TicketKeys {
    if let earlier = request.earlier?.ticketKeys, earlier.current.isOwn, !request.replacesTicketKey { return earlier }
    return try TicketKeys(request.tickets, opening: opening)
  }

  private func beginIssuers() throws(TLSCredentialsError) {
    guard request.clients.request != .ignored, let trust = request.clients.trust else { return }
    switch trust {
    case .folder(let folder):
      do { issuerFiles = try CredentialFolder.files(in: folder) } catch { throw .unreadable(path: folder, error) }
    case .files(let paths, _): issuerFiles = paths
    case .file(let path): try issuers.add(CredentialFile(path, opening: opening), path: path)
    }
  }

  private func checkIssuers(of folder: String) throws(TLSCredentialsError) {
    guard request.clients.request == .ignored || !issuers.isEmpty else { throw .badTrust(path: folder, "no certificate found") }
  }
}
