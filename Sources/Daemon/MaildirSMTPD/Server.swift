// Server: one session of the demonstration server on two descriptors.
//
// The loop: pass the available octets to the dialogue, store the octets of a message, carry out the action. If no
// octets are left, send the replies (RFC 2920, 3.2) and wait for more. The dialogue decides everything except the
// timeouts. The timeout of a command starts at the previous reply and does not restart with partial input; the timeout
// of a message restarts with each piece.
//
// Every end removes the stored octets of an incomplete message. If a reply could not be sent, its message may have been
// delivered; it is never delivered in part.

import Glibc
import Transport

/// An SMTP session that delivers to a Maildir.
struct Server: ~Copyable {
  private static let inputSize = 32_768
  /// The number of octets of a message that are stored at once.
  private static let contentSize = 32_768
  /// The maximum number of octets of replies that are held back.
  private static let outputSize = 4096
  /// The maximum size of a message in octets.
  private static let sizeLimit = 52_428_800
  /// The maximum number of recipients of a message (RFC 5321, 4.5.3.1.8: at least 100).
  private static let recipientsLimit = 100
  /// The time for a client to read the last reply.
  private static let lastReplySeconds = 2

  private let options: Options
  private let connection: Connection
  private let host: String
  private var dialogue: Dialogue
  private var maildir: Maildir
  private var wire: Wire

  private var input = [UInt8](repeating: 0, count: Server.inputSize)
  /// The part of `input` that was read but not yet passed to the dialogue.
  private var unread = 0..<0
  private var output: [UInt8] = []
  /// The octets of the message that are not yet stored.
  private var content: [UInt8] = []
  private var delivery: Delivery?
  /// Why the message in progress, or the completed one, is not stored.
  private var failure: Dialogue.StorageFailure?
  /// The log line of the last delivery, until its reply was sent. Writing it may block: nobody may be reading the log. The
  /// reply must not wait for that, or the client sends the same message again.
  private var deliveryLine: String?
  /// The deadline of the pending command; nil if nothing was awaited since the last reply.
  private var commandDeadline: Deadline?

  init(options: Options, connection: Connection, host: String, wire: consuming Wire) {
    self.options = options
    self.connection = connection
    self.host = host
    self.dialogue = Dialogue(
      Dialogue.Policy(
        host: host, sizeLimit: Server.sizeLimit, recipientsLimit: Server.recipientsLimit, domains: options.domains))
    self.maildir = Maildir(path: options.maildir, host: host)
    self.wire = wire
  }

  /// Runs the session. May end the process by the signal that stops it.
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
  /// Sends pending replies and reads more; returns the exit code if the session has ended.
  private mutating func replenish() -> ExitCode? {
    if let end = flush() { return end }
    let timeout = Deadline(secondsFromNow: options.timeout)
    let deadline = dialogue.isInsideMessage ? timeout : commandDeadline ?? timeout
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
    let outcome = wire.write(output, by: Deadline(secondsFromNow: options.timeout))
    output.removeAll(keepingCapacity: true)
    if let line = deliveryLine.take() { LogLine.write(line) }
    switch outcome {
    case .moved: return nil
    case .expired:
      // The client would not read a closing reply either.
      delivery.take()?.abandon()
      log("timed out", "the client reads no replies")
      return .timedOut
    case let outcome: return end(outcome)
    }
  }

  private mutating func send(_ reply: Reply) -> ExitCode? {
    output += reply.text.utf8
    commandDeadline = nil
    return reply.mayWait && output.count < Server.outputSize ? nil : flush()
  }

  /// Sends a closing reply, if the client accepts it within a short time.
  private mutating func sendLast(_ reply: Reply) {
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
      return send(reply)
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
      if let end = send(reply) { return end }
      wire.linger(isNeeded: reply != .goodbye, by: Deadline(secondsFromNow: Server.lastReplySeconds))
      return .done
    }
  }

  /// nil if the message may follow.
  private mutating func begin(_ envelope: Envelope) -> Dialogue.StorageFailure? {
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
    guard let delivery = delivery.take() else { return .failure(failure ?? .broken) }
    let size = delivery.size
    do throws(DeliveryError) {
      let name = try delivery.commit()
      let recipients = dialogue.envelope?.recipients.count ?? 0
      deliveryLine = line("delivered \(name)", "size \(size), recipients \(recipients)")
      return .success(name)
    } catch {
      let failure = judge(error.cause)
      if let file = error.remaining {
        log("cannot remove a refused message", "\(file.path), \(file.cause): it is delivered twice if the client sends it again")
      }
      return .failure(failure)
    }
  }

  /// Logs a storage error and returns its class.
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
  /// The consequence of a result other than moved octets.
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
      sendLast(.timedOut)
      return .timedOut
    case .stopped(let signal):
      log("stopping", "signal \(signal)")
      sendLast(.stopping)
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

  private func log(_ event: String, _ facts: String) {
    LogLine.write(line(event, facts))
  }

  /// A line of the log: the event, its facts, the client, and the sender of the current transaction. The sender is last,
  /// because a quoted local part may have the form of the other fields.
  private func line(_ event: String, _ facts: String) -> String {
    let sender = dialogue.envelope.map { ", from \($0.sender)" } ?? ""
    let session = connection.session.map { ", session \($0)" } ?? ""
    return "\(event): \(facts), client \(connection.peer)\(session)\(sender)"
  }
}
