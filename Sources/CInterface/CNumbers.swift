// CNumbers: maps Swift enumerations to the numbers of smtpstate.h and back.
//
// Contract: every table is written out, so that a change in Swift does not change a number in C. A case that is added does not
// compile until it has a number. A case that is moved keeps its number.
// Failure: a number that is not in its enumeration gives nil.

import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

/// A value that has a number in the header.
protocol Numbered: RawRepresentable where RawValue == UInt8 {
  var number: UInt8 { get }
}

extension Numbered {
  /// The value of a number; nil if it is no member of the enumeration.
  init?(number: UInt32) {
    var raw: UInt8 = 0
    // Raw values have no gaps.
    while let value = Self(rawValue: raw) {
      if UInt32(value.number) == number {
        self = value
        return
      }
      raw += 1
    }
    return nil
  }
}

extension Policy.Security: Numbered {
  var number: UInt8 {
    switch self {
    case .opportunistic: SMTPSTATE_SECURITY_OPPORTUNISTIC.octet
    case .required: SMTPSTATE_SECURITY_REQUIRED.octet
    }
  }
}

extension Policy.MailProtocol: Numbered {
  var number: UInt8 {
    switch self {
    case .smtp: SMTPSTATE_PROTOCOL_SMTP.octet
    case .lmtp: SMTPSTATE_PROTOCOL_LMTP.octet
    }
  }
}

extension Policy.ServerReset: Numbered {
  var number: UInt8 {
    switch self {
    case .restart: SMTPSTATE_SERVER_RESET_RESTART.octet
    case .rset: SMTPSTATE_SERVER_RESET_RSET.octet
    }
  }
}

extension Policy.BareLineFeed: Numbered {
  var number: UInt8 {
    switch self {
    case .tolerate: SMTPSTATE_BARE_LINE_FEED_TOLERATE.octet
    case .reject: SMTPSTATE_BARE_LINE_FEED_REJECT.octet
    }
  }
}

extension Party: Numbered {
  var number: UInt8 {
    switch self {
    case .client: SMTPSTATE_PARTY_CLIENT.octet
    case .server: SMTPSTATE_PARTY_SERVER.octet
    case .newServer: SMTPSTATE_PARTY_NEW_SERVER.octet
    }
  }
}

extension Hold: Numbered {
  var number: UInt8 {
    switch self {
    case .client: SMTPSTATE_HOLD_CLIENT.octet
    case .reply: SMTPSTATE_HOLD_REPLY.octet
    }
  }
}

extension HandshakeOutcome: Numbered {
  var number: UInt8 {
    switch self {
    case .established: SMTPSTATE_HANDSHAKE_ESTABLISHED.octet
    case .failed: SMTPSTATE_HANDSHAKE_FAILED.octet
    }
  }
}

extension RestartOutcome: Numbered {
  var number: UInt8 {
    switch self {
    case .greeting: SMTPSTATE_RESTARTED_GREETING.octet
    case .ready: SMTPSTATE_RESTARTED_READY.octet
    case .failed: SMTPSTATE_RESTARTED_FAILED.octet
    }
  }
}

extension Deadline: Numbered {
  var number: UInt8 {
    switch self {
    case .greeting: SMTPSTATE_DEADLINE_GREETING.octet
    case .command: SMTPSTATE_DEADLINE_COMMAND.octet
    case .reply: SMTPSTATE_DEADLINE_REPLY.octet
    case .reset: SMTPSTATE_DEADLINE_RESET.octet
    case .handshake: SMTPSTATE_DEADLINE_HANDSHAKE.octet
    case .clearPhase: SMTPSTATE_DEADLINE_CLEAR_PHASE.octet
    }
  }
}

extension Interest {
  /// A set of bits, which map to those of poll(2).
  var bits: UInt32 {
    switch self {
    case .nothing: SMTPSTATE_INTEREST_NONE.rawValue
    case .server: SMTPSTATE_INTEREST_SERVER.rawValue
    case .both: SMTPSTATE_INTEREST_CLIENT.rawValue | SMTPSTATE_INTEREST_SERVER.rawValue
    case .again: SMTPSTATE_INTEREST_AGAIN.rawValue
    case .drain: SMTPSTATE_INTEREST_DRAIN.rawValue
    }
  }
}

extension ReplySeparator {
  /// The octet to set; 0 if the server's octet stays.
  var octet: UInt8 {
    switch self {
    case .kept: 0
    case .hyphen: UInt8(ascii: "-")
    case .space: UInt8(ascii: " ")
    }
  }
}

extension Phase: Numbered {
  var number: UInt8 {
    switch self {
    case .greeting: SMTPSTATE_PHASE_GREETING.octet
    case .negotiating: SMTPSTATE_PHASE_NEGOTIATING.octet
    case .peekingBeforeReset: SMTPSTATE_PHASE_PEEKING_BEFORE_RESET.octet
    case .resetting: SMTPSTATE_PHASE_RESETTING.octet
    case .peekingAtServer: SMTPSTATE_PHASE_PEEKING_AT_SERVER.octet
    case .peekingAtClient: SMTPSTATE_PHASE_PEEKING_AT_CLIENT.octet
    case .promised: SMTPSTATE_PHASE_PROMISED.octet
    case .handshaking: SMTPSTATE_PHASE_HANDSHAKING.octet
    case .restarting: SMTPSTATE_PHASE_RESTARTING.octet
    case .regreeting: SMTPSTATE_PHASE_REGREETING.octet
    case .secured: SMTPSTATE_PHASE_SECURED.octet
    case .quitting: SMTPSTATE_PHASE_QUITTING.octet
    case .refusing: SMTPSTATE_PHASE_REFUSING.octet
    case .relaying: SMTPSTATE_PHASE_RELAYING.octet
    case .closed: SMTPSTATE_PHASE_CLOSED.octet
    }
  }
}

extension Verb: Numbered {
  var number: UInt8 {
    switch self {
    case .ehlo: SMTPSTATE_VERB_EHLO.octet
    case .helo: SMTPSTATE_VERB_HELO.octet
    case .lhlo: SMTPSTATE_VERB_LHLO.octet
    case .starttls: SMTPSTATE_VERB_STARTTLS.octet
    case .mail: SMTPSTATE_VERB_MAIL.octet
    case .rcpt: SMTPSTATE_VERB_RCPT.octet
    case .data: SMTPSTATE_VERB_DATA.octet
    case .bdat: SMTPSTATE_VERB_BDAT.octet
    case .rset: SMTPSTATE_VERB_RSET.octet
    case .noop: SMTPSTATE_VERB_NOOP.octet
    case .vrfy: SMTPSTATE_VERB_VRFY.octet
    case .expn: SMTPSTATE_VERB_EXPN.octet
    case .help: SMTPSTATE_VERB_HELP.octet
    case .etrn: SMTPSTATE_VERB_ETRN.octet
    case .auth: SMTPSTATE_VERB_AUTH.octet
    case .quit: SMTPSTATE_VERB_QUIT.octet
    case .xclient: SMTPSTATE_VERB_XCLIENT.octet
    case .xforward: SMTPSTATE_VERB_XFORWARD.octet
    case .get: SMTPSTATE_VERB_GET.octet
    case .post: SMTPSTATE_VERB_POST.octet
    case .put: SMTPSTATE_VERB_PUT.octet
    case .head: SMTPSTATE_VERB_HEAD.octet
    case .options: SMTPSTATE_VERB_OPTIONS.octet
    case .connect: SMTPSTATE_VERB_CONNECT.octet
    case .delete: SMTPSTATE_VERB_DELETE.octet
    case .patch: SMTPSTATE_VERB_PATCH.octet
    case .trace: SMTPSTATE_VERB_TRACE.octet
    case .other: SMTPSTATE_VERB_OTHER.octet
    case .blank: SMTPSTATE_VERB_BLANK.octet
    case .response: SMTPSTATE_VERB_RESPONSE.octet
    }
  }
}

extension Reply: Numbered {
  var number: UInt8 {
    switch self {
    case .starttlsKeyword: SMTPSTATE_REPLY_STARTTLS_KEYWORD.octet
    case .lastStarttlsKeyword: SMTPSTATE_REPLY_LAST_STARTTLS_KEYWORD.octet
    case .readyForTLS: SMTPSTATE_REPLY_READY_FOR_TLS.octet
    case .goodbye: SMTPSTATE_REPLY_GOODBYE.octet
    case .serverFailed: SMTPSTATE_REPLY_SERVER_FAILED.octet
    case .serverUnavailable: SMTPSTATE_REPLY_SERVER_UNAVAILABLE.octet
    case .timedOut: SMTPSTATE_REPLY_TIMED_OUT.octet
    case .tooManyCommands: SMTPSTATE_REPLY_TOO_MANY_COMMANDS.octet
    case .resetFailed: SMTPSTATE_REPLY_RESET_FAILED.octet
    case .tlsUnavailable: SMTPSTATE_REPLY_TLS_UNAVAILABLE.octet
    case .syntaxError: SMTPSTATE_REPLY_SYNTAX_ERROR.octet
    case .wrongGreeting: SMTPSTATE_REPLY_WRONG_GREETING.octet
    case .badResponse: SMTPSTATE_REPLY_BAD_RESPONSE.octet
    case .badParameter: SMTPSTATE_REPLY_BAD_PARAMETER.octet
    case .unknownCommand: SMTPSTATE_REPLY_UNKNOWN_COMMAND.octet
    case .badSequence: SMTPSTATE_REPLY_BAD_SEQUENCE.octet
    case .tlsRequired: SMTPSTATE_REPLY_TLS_REQUIRED.octet
    case .encryptionRequired: SMTPSTATE_REPLY_ENCRYPTION_REQUIRED.octet
    case .chunkTooLarge: SMTPSTATE_REPLY_CHUNK_TOO_LARGE.octet
    case .wrongProtocol: SMTPSTATE_REPLY_WRONG_PROTOCOL.octet
    case .injectedPlaintext: SMTPSTATE_REPLY_INJECTED_PLAINTEXT.octet
    }
  }
}

extension Reason: Numbered {
  var number: UInt8 {
    switch self {
    case .mail: SMTPSTATE_REASON_MAIL.octet
    case .quit: SMTPSTATE_REASON_QUIT.octet
    case .clientEnded: SMTPSTATE_REASON_CLIENT_ENDED.octet
    case .serverEnded: SMTPSTATE_REASON_SERVER_ENDED.octet
    case .serverRefused: SMTPSTATE_REASON_SERVER_REFUSED.octet
    case .serverGarbage: SMTPSTATE_REASON_SERVER_GARBAGE.octet
    case .serverUnasked: SMTPSTATE_REASON_SERVER_UNASKED.octet
    case .greetingTimeout: SMTPSTATE_REASON_GREETING_TIMEOUT.octet
    case .commandTimeout: SMTPSTATE_REASON_COMMAND_TIMEOUT.octet
    case .replyTimeout: SMTPSTATE_REASON_REPLY_TIMEOUT.octet
    case .resetTimeout: SMTPSTATE_REASON_RESET_TIMEOUT.octet
    case .handshakeTimeout: SMTPSTATE_REASON_HANDSHAKE_TIMEOUT.octet
    case .clearPhaseTimeout: SMTPSTATE_REASON_CLEAR_PHASE_TIMEOUT.octet
    case .injectedPlaintext: SMTPSTATE_REASON_INJECTED_PLAINTEXT.octet
    case .tlsFailed: SMTPSTATE_REASON_TLS_FAILED.octet
    case .restartFailed: SMTPSTATE_REASON_RESTART_FAILED.octet
    case .tooManyCommands: SMTPSTATE_REASON_TOO_MANY_COMMANDS.octet
    case .wrongProtocol: SMTPSTATE_REASON_WRONG_PROTOCOL.octet
    case .chunkTooLarge: SMTPSTATE_REASON_CHUNK_TOO_LARGE.octet
    case .badChunk: SMTPSTATE_REASON_BAD_CHUNK.octet
    case .badResponse: SMTPSTATE_REASON_BAD_RESPONSE.octet
    case .misuse: SMTPSTATE_REASON_MISUSE.octet
    }
  }
}

// MARK: - Numbers in structures

/// An enumerator of the header. Every value fits into one octet.
protocol Enumerator: RawRepresentable where RawValue == UInt32 {}

extension Enumerator {
  var octet: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
}

extension smtpstate_security: Enumerator {}
extension smtpstate_protocol: Enumerator {}
extension smtpstate_server_reset: Enumerator {}
extension smtpstate_bare_line_feed: Enumerator {}
extension smtpstate_party: Enumerator {}
extension smtpstate_hold: Enumerator {}
extension smtpstate_kind: Enumerator {}
extension smtpstate_verb: Enumerator {}
extension smtpstate_reply: Enumerator {}
extension smtpstate_reason: Enumerator {}
extension smtpstate_deadline: Enumerator {}
extension smtpstate_phase: Enumerator {}
extension smtpstate_handshake: Enumerator {}
extension smtpstate_restarted: Enumerator {}
