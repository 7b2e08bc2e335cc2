// Numbers: the header's numbers for the Swift values, written down independently of the library, by the names of the
// header's enumerators where there are few, by their place where there are many (WordTests holds those against their names).

import CSMTPState
import SMTPState

extension smtpstate_policy {
  init(as policy: Policy) {
    self.init()
    smtpstate_policy_init(&self)
    security = UInt8((policy.security == .required ? SMTPSTATE_SECURITY_REQUIRED : SMTPSTATE_SECURITY_OPPORTUNISTIC).rawValue)
    mail_protocol = UInt8((policy.mailProtocol == .lmtp ? SMTPSTATE_PROTOCOL_LMTP : SMTPSTATE_PROTOCOL_SMTP).rawValue)
    server_reset = UInt8((policy.serverReset == .rset ? SMTPSTATE_SERVER_RESET_RSET : SMTPSTATE_SERVER_RESET_RESTART).rawValue)
    let rejects = policy.bareLineFeed == .reject
    bare_line_feed = UInt8((rejects ? SMTPSTATE_BARE_LINE_FEED_REJECT : SMTPSTATE_BARE_LINE_FEED_TOLERATE).rawValue)
    allows_cleartext_authentication = policy.allowsCleartextAuthentication ? 1 : 0
    command_line_limit = UInt32(clamping: policy.commandLineLimit)
    response_line_limit = UInt32(clamping: policy.responseLineLimit)
    reply_line_limit = UInt32(clamping: policy.replyLineLimit)
    reply_lines_limit = UInt32(clamping: policy.replyLinesLimit)
    outstanding_limit = UInt32(clamping: policy.outstandingLimit)
    junk_limit = UInt32(clamping: policy.junkLimit)
    command_limit = UInt32(clamping: policy.commandLimit)
    chunk_limit = UInt32(clamping: policy.chunkLimit)
  }
}

extension Party {
  var c: smtpstate_party {
    switch self {
    case .client: SMTPSTATE_PARTY_CLIENT
    case .server: SMTPSTATE_PARTY_SERVER
    case .newServer: SMTPSTATE_PARTY_NEW_SERVER
    }
  }
}

extension Hold {
  var c: smtpstate_hold { self == .client ? SMTPSTATE_HOLD_CLIENT : SMTPSTATE_HOLD_REPLY }
}

extension HandshakeOutcome {
  var c: smtpstate_handshake { self == .established ? SMTPSTATE_HANDSHAKE_ESTABLISHED : SMTPSTATE_HANDSHAKE_FAILED }
}

extension RestartOutcome {
  var c: smtpstate_restarted {
    switch self {
    case .greeting: SMTPSTATE_RESTARTED_GREETING
    case .ready: SMTPSTATE_RESTARTED_READY
    case .failed: SMTPSTATE_RESTARTED_FAILED
    }
  }
}

extension Deadline {
  var c: smtpstate_deadline {
    switch self {
    case .greeting: SMTPSTATE_DEADLINE_GREETING
    case .command: SMTPSTATE_DEADLINE_COMMAND
    case .reply: SMTPSTATE_DEADLINE_REPLY
    case .reset: SMTPSTATE_DEADLINE_RESET
    case .handshake: SMTPSTATE_DEADLINE_HANDSHAKE
    case .clearPhase: SMTPSTATE_DEADLINE_CLEAR_PHASE
    }
  }
}

extension Interest {
  var bits: UInt32 {
    switch self {
    case .nothing: 0
    case .server: SMTPSTATE_INTEREST_SERVER.rawValue
    case .both: SMTPSTATE_INTEREST_SERVER.rawValue + SMTPSTATE_INTEREST_CLIENT.rawValue
    case .again: SMTPSTATE_INTEREST_AGAIN.rawValue
    case .drain: SMTPSTATE_INTEREST_DRAIN.rawValue
    }
  }
}

extension Phase {
  var c: smtpstate_phase { smtpstate_phase(UInt32(rawValue) + 1) }
}

extension smtpstate_command {
  /// Octet by octet, as a caller may compare them: what the Swift command does not carry has to be 0.
  func isSame(as command: Command) -> Bool {
    var expected = smtpstate_command()
    let kind: smtpstate_kind
    switch command {
    case .keep: kind = SMTPSTATE_KIND_KEEP
    case .drop(let hold): (kind, expected.hold) = (SMTPSTATE_KIND_DROP, UInt8(hold.c.rawValue))
    case .forward(let verb): (kind, expected.verb) = (SMTPSTATE_KIND_FORWARD, verb.rawValue + 1)
    case .pass(let separator): (kind, expected.separator) = (SMTPSTATE_KIND_PASS, separator.c)
    case .stash: kind = SMTPSTATE_KIND_STASH
    case .passEarlier(let separator): (kind, expected.separator) = (SMTPSTATE_KIND_PASS_EARLIER, separator.c)
    case .reply(let reply): (kind, expected.reply) = (SMTPSTATE_KIND_REPLY, reply.rawValue + 1)
    case .resetServer: kind = SMTPSTATE_KIND_RESET_SERVER
    case .peek(let party): (kind, expected.party) = (SMTPSTATE_KIND_PEEK, UInt8(party.c.rawValue))
    case .endServer: kind = SMTPSTATE_KIND_END_SERVER
    case .restart: kind = SMTPSTATE_KIND_RESTART
    case .handoff: kind = SMTPSTATE_KIND_HANDOFF
    case .abort(let reason): (kind, expected.reason) = (SMTPSTATE_KIND_ABORT, reason.rawValue + 1)
    case .relay: kind = SMTPSTATE_KIND_RELAY
    case .close(let reason): (kind, expected.reason) = (SMTPSTATE_KIND_CLOSE, reason.rawValue + 1)
    }
    expected.kind = UInt8(kind.rawValue)
    return withUnsafeBytes(of: self) { mine in withUnsafeBytes(of: expected) { mine.elementsEqual($0) } }
  }
}

extension ReplySeparator {
  var c: UInt8 {
    switch self {
    case .kept: 0
    case .hyphen: UInt8(ascii: "-")
    case .space: UInt8(ascii: " ")
    }
  }
}
