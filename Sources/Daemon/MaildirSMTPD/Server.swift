// Server: one session on two descriptors.
//
// The loop: give the dialogue the octets at hand, store what is a message's, carry the action out. When no octets are
// left, write the replies (RFC 2920, 3.2) and wait for more. The decisions are the dialogue's; what is decided here is
// time: a command has so long from the reply before it, however slowly it drips; a message so long from each piece to
// the next.
//
// Every end removes what is stored of an unfinished message. A message whose reply could not be written may have been
// delivered; it is never half delivered.

import Glibc
import Transport

/// An SMTP session that delivers to a Maildir.
struct Server: ~Copyable {
  private static let inputSize = 32_768
  /// Octets of a message that are stored at once.
  private static let contentSize = 32_768
  /// Replies that are held back at most.
  private static let outputSize = 4096
  /// How long a client may take to read the last reply.
  private static let lastReplySeconds = 2

  private let options: Options
  private let connection: Connection
  private let host: String
  private var dialogue: Dialogue
  private var maildir: Maildir
  private var wire: Wire

  private var input = [UInt8](repeating: 0, count: Server.inputSize)
  /// What of `input` was read and not yet given to the dialogue.
  private var unread = 0..<0
  private var output: [UInt8] = []
  /// What of the message is not yet stored.
  private var content: [UInt8] = []
  private var envelope: Envelope?
  private var delivery: Delivery?
  /// Why the message under way, or the one that is complete, is not stored.
  private var failure: Dialogue.StorageFailure?
  /// When the command that is awaited must be complete; nil if nothing was awaited since the last reply.
  private var commandDeadline: Deadline?

  init(options: Options, connection: Connection, host: String, wire: consuming Wire) {
    self.options = options
    self.connection = connection
    self.host = host
    self.dialogue = Dialogue(
      Dialogue.Policy(
        host: host, sizeLimit: options.sizeLimit, recipientsLimit: options.recipientsLimit, domains: options.domains))
    self.maildir = Maildir(path: options.maildir, host: host)
    self.wire = wire
  }

  /// Holds the session. May end the process by the signal that stops it.
  mutating func run() -> ExitCode {
    output += dialogue.greeting.text.utf8
    while true {
      if unread.isEmpty, let end = replenish() { return end }
      let step = dialogue.receive(input[unread], storing: &content)
      unread = unread.lowerBound + step.consumed..<unread.upperBound
      if let end = carryOut(step.action) { return end }
    }
  }
}

// MARK: - Octets

extension Server {
  /// Writes what is to be written and reads more; the exit code if the session is over.
  private mutating func replenish() -> ExitCode? {
    if let end = flush() { return end }
    let deadline =
      dialogue.isInsideMessage
      ? Deadline(secondsFromNow: options.dataTimeout)
      : commandDeadline ?? Deadline(secondsFromNow: options.commandTimeout)
    commandDeadline = deadline
    switch wire.read(into: &input, by: deadline) {
    case .moved(let count):
      unread = 0..<count
      return nil
    case let outcome:
      return end(outcome)
    }
  }

  private mutating func flush() -> ExitCode? {
    guard !output.isEmpty else { return nil }
    let outcome = wire.write(output, by: Deadline(secondsFromNow: options.commandTimeout))
    output.removeAll(keepingCapacity: true)
    switch outcome {
    case .moved: return nil
    case .expired:
      // A closing reply would not be read either.
      delivery.take()?.abandon()
      log("timed out", "the client reads no replies")
      return .timedOut
    case let outcome: return end(outcome)
    }
  }

  private mutating func say(_ reply: Reply) -> ExitCode? {
    output += reply.text.utf8
    commandDeadline = nil
    return reply.mayWait && output.count < Server.outputSize ? nil : flush()
  }

  /// Writes a closing reply, if the client takes it soon.
  private mutating func sayLast(_ reply: Reply) {
    output += reply.text.utf8
    _ = wire.write(output, by: Deadline(secondsFromNow: Server.lastReplySeconds))
    output.removeAll()
  }
}

// MARK: - Actions

extension Server {
  private mutating func carryOut(_ action: Dialogue.Action) -> ExitCode? {
    switch action {
    case .wait:
      if content.count >= Server.contentSize { store() }
      return nil
    case .reply(let reply):
      return say(reply)
    case .begin(let envelope):
      return carryOut(dialogue.began(begin(envelope)))
    case .abandon(let reply):
      content.removeAll(keepingCapacity: true)
      delivery.take()?.abandon()
      log("refused a message", reply.line)
      return nil
    case .commit:
      store()
      return carryOut(dialogue.committed(commit()))
    case .close(let reply):
      if let end = say(reply) { return end }
      wire.linger(isNeeded: reply != .goodbye, by: Deadline(secondsFromNow: Server.lastReplySeconds))
      return .done
    }
  }

  /// nil when the message may come.
  private mutating func begin(_ envelope: Envelope) -> Dialogue.StorageFailure? {
    self.envelope = envelope
    failure = nil
    do throws(SystemError) {
      var delivery = try maildir.begin(expecting: envelope.declaredSize)
      let header = TraceHeader(
        envelope: envelope, connection: connection, host: host, name: delivery.name, time: .now())
      do throws(SystemError) {
        try delivery.write(Array(header.text.utf8))
      } catch {
        delivery.abandon()
        throw error
      }
      self.delivery = consume delivery
      return nil
    } catch {
      return judge(error)
    }
  }

  private mutating func store() {
    guard !content.isEmpty else { return }
    do throws(SystemError) {
      try delivery?.write(content)
    } catch {
      delivery.take()?.abandon()
      let failure = judge(error)
      self.failure = failure
      dialogue.failed(failure)
    }
    content.removeAll(keepingCapacity: true)
  }

  private mutating func commit() -> Result<String, Dialogue.StorageFailure> {
    defer { envelope = nil }
    guard let delivery = delivery.take() else { return .failure(failure ?? .broken) }
    let size = delivery.size
    do throws(SystemError) {
      let name = try delivery.commit()
      let recipients = envelope?.recipients.count ?? 0
      log("delivered \(name)", "size \(size), recipients \(recipients)")
      return .success(name)
    } catch {
      return .failure(judge(error))
    }
  }

  /// The class of a failure to store, logged.
  private func judge(_ error: SystemError) -> Dialogue.StorageFailure {
    log("cannot store a message in \(options.maildir)", "\(error)")
    switch error.code {
    case ENOSPC, EDQUOT, EFBIG: return .full
    default: return .broken
    }
  }
}

// MARK: - Ends

extension Server {
  /// What an outcome other than moved octets means for the session.
  private mutating func end(_ outcome: Wire.Outcome) -> ExitCode {
    let wasInsideMessage = dialogue.isInsideMessage
    delivery.take()?.abandon()
    switch outcome {
    case .moved:
      return .done
    case .ended:
      guard wasInsideMessage else { return .done }
      log("lost the client", "it ended in the middle of a message")
      return .brokenOff
    case .expired:
      log("timed out", wasInsideMessage ? "the message did not go on" : "no command came")
      sayLast(.timedOut)
      return .timedOut
    case .stopped(let signal):
      log("stopping", "signal \(signal)")
      sayLast(.stopping)
      StopSignals.die(by: signal)
      return .system
    case .gone(let error):
      log("lost the client", "\(error)")
      return .brokenOff
    case .failed(let error):
      log("cannot go on", "\(error)")
      return .system
    }
  }

  /// One line: what happened, from whom, and why or how much.
  private func log(_ event: String, _ facts: String) {
    let sender = envelope.map { ", from \($0.sender)" } ?? ""
    LogLine.write("\(event): \(facts)\(sender), client \(connection.peer)")
  }
}
