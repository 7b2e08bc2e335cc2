// MailArgument: the argument of MAIL and RCPT, `FROM:<path> KEYWORD=value ...` (RFC 5321, 4.1.2).
//
// Blanks between the colon and the path are accepted, because they are common and harmless. MAIL accepts SIZE (RFC
// 1870) and BODY=7BIT or BODY=8BITMIME (RFC 6152), each at most once; RCPT accepts no parameter. The reply to a
// parameter that was not offered is 555, to a malformed one 501 (RFC 5321, 4.1.1.11).

/// The argument of MAIL.
struct SenderArgument: Hashable, Sendable {
  let path: MailPath
  /// The size that the client states; nil if it states none, `Int.max` if it is too large to represent.
  let declaredSize: Int?

  /// - Throws: the reply that refuses the argument.
  init(parsing argument: ArraySlice<UInt8>) throws(Reply) {
    guard let octets = argument.after("FROM:") else { throw .badMailArgument }
    guard let (path, rest) = MailPath.parse(octets, for: .sender) else { throw .badSender }
    var size: Int?
    var bodyIsGiven = false
    for parameter in try Parameter.list(parsing: rest) {
      switch parameter.keyword {
      case "SIZE":
        guard size == nil, let count = parameter.number else { throw .badParameter }
        size = count
      case "BODY":
        let body = parameter.value.uppercased()
        guard !bodyIsGiven, body == "7BIT" || body == "8BITMIME" else { throw .badParameter }
        bodyIsGiven = true
      default:
        throw .unknownParameter
      }
    }
    self.path = path
    self.declaredSize = size
  }
}

/// The argument of RCPT.
struct RecipientArgument: Hashable, Sendable {
  let path: MailPath

  /// - Throws: the reply that refuses the argument.
  init(parsing argument: ArraySlice<UInt8>) throws(Reply) {
    guard let octets = argument.after("TO:") else { throw .badRecipientArgument }
    guard let (path, rest) = MailPath.parse(octets, for: .recipient) else { throw .badRecipient }
    guard try Parameter.list(parsing: rest).isEmpty else { throw .unknownParameter }
    self.path = path
  }
}

/// `KEYWORD` or `KEYWORD=value`.
private struct Parameter {
  /// In upper case.
  let keyword: String
  /// Empty if there is none.
  let value: String

  /// The value as a number of 1 to 20 digits, `Int.max` if it is too large to represent; nil if it is not a number.
  var number: Int? {
    guard !value.isEmpty, value.utf8.count <= 20, value.utf8.allSatisfy(\.isDigit) else { return nil }
    return Int(value) ?? .max
  }

  /// The parameters after a path.
  static func list(parsing rest: ArraySlice<UInt8>) throws(Reply) -> [Parameter] {
    guard rest.isEmpty || rest.first == Octet.space else { throw .badParameter }
    var list: [Parameter] = []
    for word in rest.split(separator: Octet.space) { list.append(try Parameter(parsing: word)) }
    return list
  }

  private init(parsing word: ArraySlice<UInt8>) throws(Reply) {
    let hyphen = UInt8(ascii: "-")
    let keyword = word.prefix { $0.isLetter || $0.isDigit || $0 == hyphen }
    guard !keyword.isEmpty, keyword.first != hyphen else { throw .badParameter }
    var value = word[keyword.endIndex...]
    if value.popFirst() == UInt8(ascii: "=") {
      guard !value.isEmpty, value.allSatisfy({ $0.isVisible && $0 != UInt8(ascii: "=") }) else {
        throw .badParameter
      }
    } else {
      guard keyword.endIndex == word.endIndex else { throw .badParameter }
    }
    self.keyword = String(decoding: keyword, as: UTF8.self).uppercased()
    self.value = String(decoding: value, as: UTF8.self)
  }
}

extension Reply: Error {}

extension ArraySlice<UInt8> {
  /// The rest after `word`, which is compared without regard to case, and the blanks after it; nil if the octets do not
  /// start with it.
  fileprivate func after(_ word: StaticString) -> ArraySlice<UInt8>? {
    var rest = self
    for index in 0..<word.utf8CodeUnitCount {
      guard let octet = rest.popFirst() else { return nil }
      let capital = octet.isLetter ? octet & 0xDF : octet
      guard capital == word.utf8Start[index] else { return nil }
    }
    return rest.drop { $0 == Octet.space }
  }
}
