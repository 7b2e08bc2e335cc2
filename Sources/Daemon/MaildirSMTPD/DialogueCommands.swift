// DialogueCommands: the commands of a Dialogue: when each is permitted, and what it does (RFC 5321, 4.1).
//
// A line is a verb, blanks and an argument. Trailing blanks are accepted (4.1.1), leading blanks are not. Octets above
// 0x7E and control characters are refused in an argument that is used.

extension Dialogue {
  /// Carries out one line, without its CRLF.
  mutating func execute(_ line: [UInt8]) -> Action {
    let end = line.lastIndex { !$0.isBlank }.map { $0 + 1 } ?? 0
    let command = line[..<end]
    guard let first = command.first, !first.isBlank else { return .reply(.noCommand) }
    let word = command.prefix { $0 != Octet.space }
    let argument = command[word.endIndex...].drop { $0 == Octet.space }

    switch Verb(word: word) {
    case .ehlo: return .reply(greet(argument, isExtended: true))
    case .helo: return .reply(greet(argument, isExtended: false))
    case .mail: return .reply(mail(argument).waiting)
    case .rcpt: return .reply(rcpt(argument).waiting)
    case .data: return data(argument)
    case .rset: return .reply(rset(argument).waiting)
    case .noop: return .reply(.done)
    case .vrfy:
      if argument.isEmpty { return .reply(.argumentNeeded) }
      return .reply(policy.domains.isRestricted ? .cannotVerifyButAsk : .cannotVerify)
    case .help: return .reply(.help)
    case .quit: return quit(argument)
    case .bdat: return bdat(argument)
    case .auth, .etrn, .expn, .saml, .send, .soml, .starttls, .turn: return .reply(.notImplemented)
    case .connect, .delete, .get, .head, .options, .patch, .post, .put, .trace: return close(.wrongProtocol)
    case nil: return .reply(.unknownCommand)
    }
  }

  /// EHLO and HELO, permitted at any time; both end a transaction (4.1.4). A refused one changes nothing.
  private mutating func greet(_ argument: ArraySlice<UInt8>, isExtended: Bool) -> Reply {
    guard !argument.isEmpty else { return .argumentNeeded }
    guard let name = Hello(argument: argument, isExtended: isExtended) else { return .badName }
    hello = name
    envelope = nil
    return isExtended ? .extensions(host: policy.host, sizeLimit: policy.sizeLimit) : .hello(host: policy.host)
  }

  private mutating func mail(_ argument: ArraySlice<UInt8>) -> Reply {
    guard let hello else { return .helloFirst }
    guard envelope == nil else { return .nestedMail }
    do throws(Reply) {
      let sender = try SenderArgument(parsing: argument)
      if policy.sizeLimit > 0, let size = sender.declaredSize, size > policy.sizeLimit { return .tooLarge }
      envelope = Envelope(hello: hello, sender: sender)
      return .senderAccepted
    } catch {
      return error
    }
  }

  /// Accepts every valid address of the accepted domains. An address given twice is accepted twice and gets one
  /// delivery.
  private mutating func rcpt(_ argument: ArraySlice<UInt8>) -> Reply {
    guard let count = envelope?.recipients.count else { return .mailFirst }
    do throws(Reply) {
      let recipient = try RecipientArgument(parsing: argument).path
      guard policy.domains.accept(recipient) else { return .notOurDomain }
      guard count < policy.recipientsLimit || envelope?.contains(recipient) == true else { return .tooManyRecipients }
      envelope?.add(recipient)
      return .recipientAccepted
    } catch {
      return error
    }
  }

  private mutating func data(_ argument: ArraySlice<UInt8>) -> Action {
    guard argument.isEmpty else { return .reply(.noArgument) }
    guard let envelope else { return .reply(.mailFirst) }
    guard !envelope.recipients.isEmpty else { return .reply(.recipientFirst) }
    phase = .opening
    return .begin(envelope)
  }

  private mutating func rset(_ argument: ArraySlice<UInt8>) -> Reply {
    guard argument.isEmpty else { return .noArgument }
    envelope = nil
    return .done
  }

  private mutating func quit(_ argument: ArraySlice<UInt8>) -> Action {
    guard argument.isEmpty else { return .reply(.noArgument) }
    return close(.goodbye)
  }

  /// `BDAT size [LAST]` was not offered, but its octets follow and must not be read as commands. Without a size the
  /// position of the next command is unknown.
  private mutating func bdat(_ argument: ArraySlice<UInt8>) -> Action {
    let digits = argument.prefix { $0.isDigit }
    let rest = argument[digits.endIndex...]
    guard rest.isEmpty || rest.first == Octet.space, let size = Int(String(decoding: digits, as: UTF8.self)) else {
      return close(.badChunkSize)
    }
    guard size > 0 else { return .reply(.notImplemented) }
    phase = .chunk(left: size)
    return .wait
  }

  private mutating func close(_ reply: Reply) -> Action {
    phase = .closed
    return .close(reply)
  }
}

extension UInt8 {
  fileprivate var isBlank: Bool { self == Octet.space || self == Octet.tab }
}
