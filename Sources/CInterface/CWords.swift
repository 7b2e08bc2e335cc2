// CWords: the strings of smtpstate.h.
//
// Contract: all strings are literals. No octet that a peer sent is part of one.
// Failure: a number that is not in its enumeration gives "none", or an empty reply. A description is truncated to its buffer.

public import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

@c(smtpstate_reply_text) @implementation
public func smtpstate_reply_text(_ reply: smtpstate_reply) -> UnsafePointer<CChar>? {
  (Reply(number: reply.rawValue)?.text ?? "").start
}

@c(smtpstate_reason_name) @implementation
public func smtpstate_reason_name(_ reason: smtpstate_reason) -> UnsafePointer<CChar>? {
  (Reason(number: reason.rawValue)?.name ?? nothing).start
}

@c(smtpstate_verb_name) @implementation
public func smtpstate_verb_name(_ verb: smtpstate_verb) -> UnsafePointer<CChar>? {
  (Verb(number: verb.rawValue)?.name ?? nothing).start
}

@c(smtpstate_deadline_name) @implementation
public func smtpstate_deadline_name(_ kind: smtpstate_deadline) -> UnsafePointer<CChar>? {
  (Deadline(number: kind.rawValue)?.name ?? nothing).start
}

@c(smtpstate_phase_name) @implementation
public func smtpstate_phase_name(_ phase: smtpstate_phase) -> UnsafePointer<CChar>? {
  (Phase(number: phase.rawValue)?.name ?? nothing).start
}

@c(smtpstate_command_describe) @implementation
public func smtpstate_command_describe(
  _ command: smtpstate_command, _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int
) -> Int {
  // A size_t: a number over the largest Int arrives negative.
  var line = Description(buffer, Int(clamping: UInt(bitPattern: size)))
  switch smtpstate_kind(UInt32(command.kind)) {
  case SMTPSTATE_KIND_KEEP: line.append("keep")
  case SMTPSTATE_KIND_DROP: line.append("drop ", Hold(number: UInt32(command.hold))?.name ?? nothing)
  case SMTPSTATE_KIND_FORWARD: line.append("forward ", Verb(number: UInt32(command.verb))?.name ?? nothing)
  case SMTPSTATE_KIND_PASS: line.append("pass", command.separatorWords)
  case SMTPSTATE_KIND_STASH: line.append("stash")
  case SMTPSTATE_KIND_PASS_EARLIER: line.append("pass earlier", command.separatorWords)
  case SMTPSTATE_KIND_REPLY:
    line.append("reply ")
    line.appendCodes(of: Reply(number: UInt32(command.reply))?.text ?? nothing)
  case SMTPSTATE_KIND_RESET_SERVER: line.append("reset server")
  case SMTPSTATE_KIND_PEEK: line.append("peek ", Party(number: UInt32(command.party))?.name ?? nothing)
  case SMTPSTATE_KIND_END_SERVER: line.append("end server")
  case SMTPSTATE_KIND_RESTART: line.append("restart")
  case SMTPSTATE_KIND_HANDOFF: line.append("handoff")
  case SMTPSTATE_KIND_ABORT: line.append("abort ", Reason(number: UInt32(command.reason))?.name ?? nothing)
  case SMTPSTATE_KIND_RELAY: line.append("relay")
  case SMTPSTATE_KIND_CLOSE: line.append("close ", Reason(number: UInt32(command.reason))?.name ?? nothing)
  default: line.append(nothing)
  }
  return line.length
}

// MARK: - Words

/// The name of a value that has none.
private var nothing: StaticString { "none" }

extension StaticString {
  /// The literal as C has it: its octets end with a NUL.
  var start: UnsafePointer<CChar> {
    UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
  }
}

extension smtpstate_command {
  fileprivate var separatorWords: StaticString {
    switch separator {
    case ReplySeparator.hyphen.octet: " with hyphen"
    case ReplySeparator.space.octet: " with space"
    default: ""
    }
  }
}

// MARK: - A line in a caller's buffer

/// A string in the caller's buffer, truncated to its size and ended by NUL, and the length of the whole string.
private struct Description {
  private let buffer: UnsafeMutablePointer<CChar>?
  private let size: Int
  private(set) var length = 0

  /// A buffer that is NULL or has size 0 is not written to.
  init(_ buffer: UnsafeMutablePointer<CChar>?, _ size: Int) {
    self.buffer = size > 0 ? buffer : nil
    self.size = size
    self.buffer?[0] = 0
  }

  mutating func append(_ text: StaticString, _ more: StaticString = "") {
    for index in 0..<text.utf8CodeUnitCount { append(text.start[index]) }
    for index in 0..<more.utf8CodeUnitCount { append(more.start[index]) }
  }

  /// Appends the first two words of a reply: its codes, `250-STARTTLS`, or `250 STARTTLS`.
  mutating func appendCodes(of text: StaticString) {
    var blanks = 0
    for index in 0..<text.utf8CodeUnitCount {
      let octet = text.start[index]
      if octet == CChar(0x20) { blanks += 1 }
      if blanks == 2 || octet == CChar(0x0D) { return }
      append(octet)
    }
  }

  private mutating func append(_ octet: CChar) {
    if let buffer, length < size - 1 {
      buffer[length] = octet
      buffer[length + 1] = 0
    }
    length += 1
  }
}
