// CPolicy: converts `struct smtpstate_policy` into the session's policy and back.
//
// Failure: a policy with a number that is not in its enumeration, or with reserved octets other than 0, is refused.

public import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

@c(smtpstate_abi_version) @implementation
public func smtpstate_abi_version() -> UInt32 { UInt32(SMTPSTATE_ABI_VERSION) }

/// As SMTPSTATE_VERSION_STRING, which Swift sees as a string that could need an allocation. The C tests compare them.
@c(smtpstate_version) @implementation
public func smtpstate_version() -> UnsafePointer<CChar>? { ("0.1.0" as StaticString).start }

@c(smtpstate_policy_init) @implementation
public func smtpstate_policy_init(_ policy: UnsafeMutablePointer<smtpstate_policy>?) {
  policy?.initialize(to: smtpstate_policy(Policy()))
}

@c(smtpstate_policy_client_hold_capacity) @implementation
public func smtpstate_policy_client_hold_capacity(_ policy: UnsafePointer<smtpstate_policy>?) -> Int {
  Policy(from: policy)?.clientHoldCapacity ?? 0
}

@c(smtpstate_policy_reply_hold_capacity) @implementation
public func smtpstate_policy_reply_hold_capacity(_ policy: UnsafePointer<smtpstate_policy>?) -> Int {
  Policy(from: policy)?.replyHoldCapacity ?? 0
}

@c(smtpstate_policy_milliseconds) @implementation
public func smtpstate_policy_milliseconds(
  _ policy: UnsafePointer<smtpstate_policy>?, _ kind: smtpstate_deadline
) -> Int64 {
  guard let kind = Deadline(number: kind.rawValue), let policy = Policy(from: policy) else { return -1 }
  return Int64(policy.milliseconds(of: kind))
}

extension Policy {
  /// The policy at that address; the default policy for NULL; nil if the policy is refused.
  init?(from pointer: UnsafePointer<smtpstate_policy>?) {
    self.init()
    guard let pointer else { return }
    // The size first: a smaller structure is not read.
    guard UnsafeRawPointer(pointer).load(as: UInt32.self) == smtpstate_policy.knownSize else { return nil }
    let policy = pointer.pointee
    guard let security = Security(number: UInt32(policy.security)),
      let mailProtocol = MailProtocol(number: UInt32(policy.mail_protocol)),
      let serverReset = ServerReset(number: UInt32(policy.server_reset)),
      let bareLineFeed = BareLineFeed(number: UInt32(policy.bare_line_feed)),
      policy.allows_cleartext_authentication <= 1, policy.reserved == (0, 0, 0)
    else { return nil }
    self.security = security
    self.mailProtocol = mailProtocol
    self.serverReset = serverReset
    self.bareLineFeed = bareLineFeed
    allowsCleartextAuthentication = policy.allows_cleartext_authentication == 1
    commandLineLimit = Int(clamping: policy.command_line_limit)
    responseLineLimit = Int(clamping: policy.response_line_limit)
    replyLineLimit = Int(clamping: policy.reply_line_limit)
    replyLinesLimit = Int(clamping: policy.reply_lines_limit)
    outstandingLimit = Int(clamping: policy.outstanding_limit)
    junkLimit = Int(clamping: policy.junk_limit)
    commandLimit = Int(clamping: policy.command_limit)
    chunkLimit = Int(clamping: policy.chunk_limit)
    greetingTimeoutMilliseconds = Int(clamping: policy.greeting_timeout_milliseconds)
    commandTimeoutMilliseconds = Int(clamping: policy.command_timeout_milliseconds)
    replyTimeoutMilliseconds = Int(clamping: policy.reply_timeout_milliseconds)
    resetTimeoutMilliseconds = Int(clamping: policy.reset_timeout_milliseconds)
    handshakeTimeoutMilliseconds = Int(clamping: policy.handshake_timeout_milliseconds)
    clearPhaseTimeoutMilliseconds = Int(clamping: policy.clear_phase_timeout_milliseconds)
  }
}

extension smtpstate_policy {
  /// The only size so far. A later version knows several.
  fileprivate static var knownSize: UInt32 { UInt32(MemoryLayout<smtpstate_policy>.size) }

  init(_ policy: Policy) {
    self.init()
    size = Self.knownSize
    security = policy.security.number
    mail_protocol = policy.mailProtocol.number
    server_reset = policy.serverReset.number
    bare_line_feed = policy.bareLineFeed.number
    allows_cleartext_authentication = policy.allowsCleartextAuthentication ? 1 : 0
    command_line_limit = UInt32(clamping: policy.commandLineLimit)
    response_line_limit = UInt32(clamping: policy.responseLineLimit)
    reply_line_limit = UInt32(clamping: policy.replyLineLimit)
    reply_lines_limit = UInt32(clamping: policy.replyLinesLimit)
    outstanding_limit = UInt32(clamping: policy.outstandingLimit)
    junk_limit = UInt32(clamping: policy.junkLimit)
    command_limit = UInt32(clamping: policy.commandLimit)
    chunk_limit = UInt32(clamping: policy.chunkLimit)
    greeting_timeout_milliseconds = UInt32(clamping: policy.greetingTimeoutMilliseconds)
    command_timeout_milliseconds = UInt32(clamping: policy.commandTimeoutMilliseconds)
    reply_timeout_milliseconds = UInt32(clamping: policy.replyTimeoutMilliseconds)
    reset_timeout_milliseconds = UInt32(clamping: policy.resetTimeoutMilliseconds)
    handshake_timeout_milliseconds = UInt32(clamping: policy.handshakeTimeoutMilliseconds)
    clear_phase_timeout_milliseconds = UInt32(clamping: policy.clearPhaseTimeoutMilliseconds)
  }
}
