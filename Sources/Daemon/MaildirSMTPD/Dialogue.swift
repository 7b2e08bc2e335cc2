// Dialogue: the server side of SMTP (RFC 5321) as a value.
//
// It receives the client's octets and returns one action at a time; it does no input and output itself. Every line gets
// exactly one reply, in order, until the closing reply. The result does not depend on how the input is divided.
//
//     greeting -> commands <-> opening -> message -> committing -> commands ... closed
//
// Contract: the caller carries out an action before it passes more octets. It calls `began` after `begin` and
// `committed` after `commit`. Without these calls the dialogue returns `wait`.
//
// Bounds: one command line, the recipients of one message, and the octets that `receive` stores per call.
// Total function: no input and no order of calls traps.

/// The session of one client.
public struct Dialogue: Hashable, Sendable {
  /// The settings of a server.
  public struct Policy: Hashable, Sendable {
    /// The name of the server, in visible ASCII.
    public var host: String
    /// The maximum size of a message in octets, lines counted with CRLF (RFC 1870); 0: no limit.
    public var sizeLimit: Int
    /// The maximum number of recipients of a message. RFC 5321, 4.5.3.1.8 requires at least 100.
    public var recipientsLimit: Int
    /// The domains whose mail is accepted.
    public var domains: RecipientDomains

    /// Creates a policy with the given limits.
    public init(host: String, sizeLimit: Int, recipientsLimit: Int, domains: RecipientDomains = RecipientDomains()) {
      self.host = host
      self.sizeLimit = sizeLimit
      self.recipientsLimit = recipientsLimit
      self.domains = domains
    }
  }

  /// What the caller must do.
  public enum Action: Hashable, Sendable {
    /// Nothing: pass the next octets.
    case wait
    /// Send this reply.
    case reply(Reply)
    /// DATA is accepted: create the storage for the message and call `began`.
    case begin(Envelope)
    /// The message is refused before its end: remove what is stored of it. This reply is sent after its end.
    case abandon(Reply)
    /// The message is complete: make it durable and call `committed`.
    case commit
    /// Send this reply, then close. Nothing more is read.
    case close(Reply)
  }

  /// The result of a call of `receive`.
  public struct Step: Hashable, Sendable {
    /// The number of octets consumed. With `wait` in the phases that read: all of them.
    public let consumed: Int
    /// What to do next.
    public let action: Action
  }

  /// Why a message cannot be stored.
  public enum StorageFailure: Error, Hashable, Sendable {
    /// The storage is full.
    case full
    /// Any other error.
    case broken

    var reply: Reply {
      switch self {
      case .full: .storageFull
      case .broken: .storageFailed
      }
    }
  }

  enum Phase: Hashable, Sendable {
    /// Reading command lines. `hello` and `envelope` determine which commands are permitted.
    case commands
    /// DATA is accepted, `began` is pending. No octet is consumed.
    case opening
    /// Reading a message to its end, even if it is already refused. A permanent error in the message replaces a
    /// temporary refusal, never the other way round.
    case message(DataReader, refusal: Reply?)
    /// The message is complete, `committed` is pending. No octet is consumed.
    case committing
    /// Skipping the octets of a BDAT chunk that was not offered (RFC 3030): they are not commands. `left` is above 0.
    case chunk(left: Int)
    /// The closing action was returned.
    case closed
  }

  /// The maximum length of a command line with its CRLF: 512 octets (RFC 5321, 4.5.3.1.4), and room for the parameters
  /// of extensions that a client may try.
  static let lineLimit = 2048

  let policy: Policy
  var phase = Phase.commands
  /// nil until EHLO or HELO was accepted.
  var hello: Hello?
  /// nil outside a mail transaction.
  var envelope: Envelope?
  private var lines = LineReader(limit: Dialogue.lineLimit)

  /// Creates a new session.
  public init(_ policy: Policy) {
    self.policy = policy
  }

  /// The first reply to send.
  public var greeting: Reply { .greeting(host: policy.host) }

  /// True if a message is in progress: it is lost if the client disconnects now.
  public var isInsideMessage: Bool {
    switch phase {
    case .message: true
    case .commands, .opening, .committing, .chunk, .closed: false
    }
  }

  /// Consumes octets of the client up to the first action.
  ///
  /// - Parameter content: octets of the message to store are appended here. The caller stores them before it carries
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

  /// The result of `begin`: the storage for the message exists, or the error.
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

  /// The message being received can no longer be stored, and the caller has removed it. Its reply is sent after its
  /// end.
  public mutating func failed(_ failure: StorageFailure) {
    guard case .message(var reader, nil) = phase else { return }
    reader.mute()
    phase = .message(reader, refusal: failure.reply)
  }

  /// The result of `commit`: the message is durable under this name, or the error.
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
