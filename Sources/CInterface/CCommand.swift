// CCommand: converts a command of the session into `struct smtpstate_command`.

import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

extension smtpstate_command {
  /// Members that the kind does not use stay 0.
  init(_ command: Command) {
    self.init()
    switch command {
    case .keep:
      kind = SMTPSTATE_KIND_KEEP.octet
    case .drop(let which):
      kind = SMTPSTATE_KIND_DROP.octet
      hold = which.number
    case .forward(let word):
      kind = SMTPSTATE_KIND_FORWARD.octet
      verb = word.number
    case .pass(let octet):
      kind = SMTPSTATE_KIND_PASS.octet
      separator = octet.octet
    case .stash:
      kind = SMTPSTATE_KIND_STASH.octet
    case .passEarlier(let octet):
      kind = SMTPSTATE_KIND_PASS_EARLIER.octet
      separator = octet.octet
    case .reply(let text):
      kind = SMTPSTATE_KIND_REPLY.octet
      reply = text.number
    case .resetServer:
      kind = SMTPSTATE_KIND_RESET_SERVER.octet
    case .peek(let which):
      kind = SMTPSTATE_KIND_PEEK.octet
      party = which.number
    case .endServer:
      kind = SMTPSTATE_KIND_END_SERVER.octet
    case .restart:
      kind = SMTPSTATE_KIND_RESTART.octet
    case .handoff:
      kind = SMTPSTATE_KIND_HANDOFF.octet
    case .abort(let why):
      kind = SMTPSTATE_KIND_ABORT.octet
      reason = why.number
    case .relay:
      kind = SMTPSTATE_KIND_RELAY.octet
    case .close(let why):
      kind = SMTPSTATE_KIND_CLOSE.octet
      reason = why.number
    }
  }

  /// The answer to a call without a valid session.
  static var misuse: smtpstate_command { smtpstate_command(.close(.misuse)) }
}
