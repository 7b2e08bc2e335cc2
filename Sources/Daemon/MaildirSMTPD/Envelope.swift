// Envelope: what a client states about itself, and about a message before it sends it.

/// The client's EHLO or HELO.
public struct Hello: Hashable, Sendable {
  /// The client's name for a header line: everything except letters, digits and the punctuation of host names and
  /// address literals is replaced by `?`.
  public let name: String
  /// True for EHLO, false for HELO.
  public let isExtended: Bool

  /// nil if `argument` is not one word of 1 to 255 visible ASCII characters. There are no further checks: mail must not
  /// be refused for a wrong name (RFC 5321, 4.1.4).
  init?(argument: ArraySlice<UInt8>, isExtended: Bool) {
    guard (1...255).contains(argument.count), argument.allSatisfy(\.isVisible) else { return nil }
    self.name = PlainText.token(argument)
    self.isExtended = isExtended
  }
}

/// The sender and the recipients of one message, complete when DATA is accepted.
public struct Envelope: Hashable, Sendable {
  /// The client's last EHLO or HELO.
  public let hello: Hello
  /// The address in MAIL.
  public let sender: MailPath
  /// The size in MAIL, if the client gave one.
  public let declaredSize: Int?
  /// The addresses in RCPT in order, without duplicates.
  public private(set) var recipients: [MailPath] = []

  private var identities: Set<String> = []

  init(hello: Hello, sender: SenderArgument) {
    self.hello = hello
    self.sender = sender.path
    self.declaredSize = sender.declaredSize
  }

  func contains(_ recipient: MailPath) -> Bool { identities.contains(recipient.identity) }

  /// Adds a recipient unless it is already there.
  mutating func add(_ recipient: MailPath) {
    if identities.insert(recipient.identity).inserted { recipients.append(recipient) }
  }
}
