// Envelope: what a client says about a message before it sends it, and about itself.

/// The client's EHLO or HELO.
public struct Hello: Hashable, Sendable {
  /// The name that the client gave itself, for a header line: everything but the letters, digits and marks of host
  /// names and address literals is replaced by `?`.
  public let name: String
  /// EHLO, not HELO.
  public let isExtended: Bool

  /// nil if `argument` is not one word of 1 to 255 visible ASCII characters. More is not asked of it: a name that
  /// proves wrong is no reason to refuse mail (RFC 5321, 4.1.4).
  init?(argument: ArraySlice<UInt8>, isExtended: Bool) {
    guard (1...255).contains(argument.count), argument.allSatisfy(\.isVisible) else { return nil }
    self.name = PlainText.token(argument)
    self.isExtended = isExtended
  }
}

/// One message's sender and recipients, complete when DATA is accepted.
public struct Envelope: Hashable, Sendable {
  /// The client's latest EHLO or HELO.
  public let hello: Hello
  /// The address of MAIL.
  public let sender: MailPath
  /// The size of MAIL, if the client gave one.
  public let declaredSize: Int?
  /// The addresses of RCPT in their order, each once.
  public private(set) var recipients: [MailPath] = []

  private var identities: Set<String> = []

  init(hello: Hello, sender: SenderArgument) {
    self.hello = hello
    self.sender = sender.path
    self.declaredSize = sender.declaredSize
  }

  func contains(_ recipient: MailPath) -> Bool { identities.contains(recipient.identity) }

  /// Adds a recipient, unless it is there.
  mutating func add(_ recipient: MailPath) {
    if identities.insert(recipient.identity).inserted { recipients.append(recipient) }
  }
}
