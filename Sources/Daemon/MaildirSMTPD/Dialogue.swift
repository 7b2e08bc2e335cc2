// Dialogue: the server's half of SMTP (RFC 5321) as a value.
//
// Octets of the client go in, one action at a time comes out; the value reads and writes nothing itself. Every line
// gets exactly one reply, in order, until the closing one. What comes out does not depend on how the octets are cut.
//
//     greeting -> commands <-> opening -> message -> committing -> commands ... closed
//
// Contract: the caller carries out an action before it gives more octets, and answers `begin` with `began` and
// `commit` with `committed`. A caller that does not gets `wait` and no harm.
//
// Bounds: one command line, the recipients of one message, and what `receive` stores of one call's octets.
// Total: no octets and no order of calls trap.

/// One client's session.
public struct Dialogue: Hashable, Sendable {
  /// What a server decides about itself.
  public struct Policy: Hashable, Sendable {
    /// The name that the server gives itself. Visible ASCII.
    public var host: String
    /// The most octets of a message, lines counted with CRLF (RFC 1870); 0: no limit.
    public var sizeLimit: Int
    /// The most recipients of a message. RFC 5321, 4.5.3.1.8 asks for at least 100.
    public var recipientsLimit: Int
    /// Whose mail is taken.
    public var domains: RecipientDomains

    /// A policy with the given limits.
    public init(host: String, sizeLimit: Int, recipientsLimit: Int, domains: RecipientDomains = RecipientDomains()) {
      self.host = host
      self.sizeLimit = sizeLimit
      self.recipientsLimit = recipientsLimit
      self.domains = domains
    }
  }

  /// What the caller is to do.
  public enum Action: Hashable, Sendable {
    /// Nothing: give the octets that follow.
    case wait
    /// Write this reply.
    case reply(Reply)
    /// DATA is accepted: make a place for the message and answer with `began`.
    case begin(Envelope)
    /// The message is refused, though not over: remove what is stored of it. This reply comes with its end.
    case abandon(Reply)
    /// The message is complete: make it durable and answer with `committed`.
    case commit
    /// Write this reply, then close. Nothing is read any more.
    case close(Reply)
  }

  /// How far a call of `receive` came.
  public struct Step: Hashable, Sendable {
    /// How many of the octets are used up. With `wait` in the phases that read: all that can be.
    public let consumed: Int
    /// What to do next.
    public let action: Action
  }

  /// Why a message cannot be stored.
  public enum StorageFailure: Error, Hashable, Sendable {
    /// There is no room.
    case full
    /// Anything else.
    case broken

    var reply: Reply {
      switch self {
      case .full: .storageFull
      case .broken: .storageFailed
      }
    }
  }

  enum Phase: Hashable, Sendable {
    /// Reading command lines. `hello` and `envelope` say which are in order.
    case commands
    /// DATA is accepted, `began` is awaited. No octet is consumed.
    case opening
    /// Reading a message, up to its end even if it is refused already. A fault of the message itself replaces a
    /// refusal that would invite the client to try again, never the other way round.
    case message(DataReader, refusal: Reply?)
    /// The message is complete, `committed` is awaited. No octet is consumed.
    case committing
    /// Skipping the octets of a chunk that nobody asked for (RFC 3030): they are no commands. `left` is above 0.
    case chunk(left: Int)
    /// The closing action was given.
    case closed
  }

  /// The most octets of a command line with its CRLF: 512 (RFC 5321, 4.5.3.1.4), and room for the parameters of
  /// extensions that a client may try on us.
  static let lineLimit = 2048

  let policy: Policy
  var phase = Phase.commands
  /// nil until EHLO or HELO was accepted.
  var hello: Hello?
  /// nil outside a mail transaction.
  var envelope: Envelope?
  private var lines = LineReader(limit: Dialogue.lineLimit)

  /// A session that has just begun.
  public init(_ policy: Policy) {
    self.policy = policy
  }

  /// The first thing to write.
  public var greeting: Reply { .greeting(host: policy.host) }

  /// Whether a message is under way: it is lost if the client leaves now.
  public var isInsideMessage: Bool {
    switch phase {
    case .message: true
    case .commands, .opening, .committing, .chunk, .closed: false
    }
  }

  /// Consumes octets of the client up to the first action.
  ///
  /// - Parameter content: what is to be stored of the message is appended here. The caller stores it before it carries
  ///   out the action.
  public mutating func receive(_ octets: ArraySlice<UInt8>, storing content: inout [UInt8]) -> Step {
    switch phase {
    case .commands:
      let (consumed, token) = lines.read(octets)
      switch token {
      case .more: return Step(consumed: consumed, action: .wait)
      case .defect(let defect): return Step(consumed: consumed, action: .reply(.refused(defect)))
      case .line(let line): return Step(consumed: consumed, action: execute(line))
      }
    case .opening, .committing:
      return Step(consumed: 0, action: .wait)
    case .message(var reader, let refusal):
      let (consumed, token) = reader.read(octets, storing: &content)
      phase = .message(reader, refusal: refusal)
      return Step(consumed: consumed, action: judge(token))
    case .chunk(let left):
      let skipped = min(left, octets.count)
      guard skipped == left else {
        phase = .chunk(left: left - skipped)
        return Step(consumed: skipped, action: .wait)
      }
      phase = .commands
      return Step(consumed: skipped, action: .reply(.notImplemented))
    case .closed:
      return Step(consumed: octets.count, action: .wait)
    }
  }

  /// Answers `begin`: the place for the message is made, or why not.
  public mutating func began(_ failure: StorageFailure?) -> Action {
    guard case .opening = phase else { return .wait }
    if let failure {
      phase = .commands
      envelope = nil
      return .reply(failure.reply)
    }
    phase = .message(DataReader(limit: policy.sizeLimit), refusal: nil)
    return .reply(.sendMessage)
  }

  /// The message that is being received can no longer be stored; the caller has removed what there was of it. Its
  /// reply comes with its end.
  public mutating func failed(_ failure: StorageFailure) {
    guard case .message(var reader, nil) = phase else { return }
    reader.mute()
    phase = .message(reader, refusal: failure.reply)
  }

  /// Answers `commit`: the message is safe under this name, or why not.
  public mutating func committed(_ outcome: Result<String, StorageFailure>) -> Action {
    guard case .committing = phase else { return .wait }
    phase = .commands
    envelope = nil
    switch outcome {
    case .success(let name): return .reply(.delivered(name))
    case .failure(let failure): return .reply(failure.reply)
    }
  }

  private mutating func judge(_ token: DataReader.Token) -> Action {
    guard case .message(let reader, let refusal) = phase else { return .wait }
    switch token {
    case .more:
      return .wait
    case .bareLineEnd, .tooLarge:
      let reply = token == .tooLarge ? Reply.tooLarge : Reply.bareLineEnd
      phase = .message(reader, refusal: reply)
      return refusal == nil ? .abandon(reply) : .wait
    case .ended:
      guard let refusal else {
        phase = .committing
        return .commit
      }
      phase = .commands
      envelope = nil
      return .reply(refusal)
    }
  }
}
