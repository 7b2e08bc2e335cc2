// Words: the words of commands and replies that say nothing about a person, and that a recording therefore keeps.

import SMTPState

enum Words {
  /// SASL mechanisms (the registry of RFC 4422, and those in use without being registered).
  static let mechanisms: Set<String> = [
    "PLAIN", "LOGIN", "EXTERNAL", "ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "GSSAPI", "GS2-KRB5", "GSS-SPNEGO", "NTLM", "XOAUTH2", "OAUTHBEARER",
    "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "KERBEROS_V4",
  ]

  /// Keywords of a reply to EHLO (the registry of RFC 5321, and those in use without being registered).
  private static let keywords: Set<String> = [
    "8BITMIME", "ATRN", "AUTH", "BINARYMIME", "BURL", "CHECKPOINT", "CHUNKING", "CONNEG", "CONPERM", "DELIVERBY", "DSN",
    "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "FUTURERELEASE", "HELP", "LIMITS", "MT-PRIORITY", "MTRK", "NO-SOLICITING", "ONEX", "PIPELINING",
    "PRDR", "REQUIRETLS", "RRVS", "SAML", "SEND", "SIZE", "SMTPUTF8", "SOML", "STARTTLS", "SUBMITTER", "TURN", "UTF8SMTP", "VERB", "VRFY",
    "XCLIENT", "XFORWARD", "XVERP",
  ]

  /// The replies of the machine itself: they say nothing that a peer sent.
  static let ownReplies: [[UInt8]] = Reply.allCases.map { Array(Octet.of($0.text)) }

  /// The word as it is, if it is a keyword; with `=` after it and what follows, a keyword with a parameter in the old form.
  static func keyword(_ word: ArraySlice<UInt8>) -> [UInt8]? {
    let name = word.prefix { $0 != UInt8(ascii: "=") }
    guard keywords.contains(Octet.capitals(name)) else { return nil }
    let value = word[name.endIndex...]
    return Array(name) + Array(value.prefix(1)) + keywordParameters(value.dropFirst())
  }

  /// The parameters of a keyword: words in capitals and numbers, as all that are registered.
  static func keywordParameters(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    let kept = Octet.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=, \t")
    let end = octets.last.map { Octet.isLineEnd($0) } == true ? octets.prefix { !Octet.isLineEnd($0) } : octets
    return end.allSatisfy { kept.contains($0) } ? Array(octets) : Octet.hiddenAfterGap(octets)
  }

  /// A parameter of MAIL or RCPT that names nobody.
  static func isMailParameter(_ word: ArraySlice<UInt8>) -> Bool {
    let text = Octet.capitals(word)
    if text.hasPrefix("SIZE=") { return word.dropFirst(5).allSatisfy(Octet.isDigit) }
    return [
      "SMTPUTF8", "BODY=7BIT", "BODY=8BITMIME", "BODY=BINARYMIME", "RET=FULL", "RET=HDRS", "NOTIFY=NEVER", "NOTIFY=SUCCESS",
      "NOTIFY=FAILURE", "NOTIFY=DELAY", "NOTIFY=SUCCESS,FAILURE", "NOTIFY=FAILURE,DELAY", "NOTIFY=SUCCESS,FAILURE,DELAY", "REQUIRETLS",
      "AUTH=<>",
    ].contains(text)
  }

  /// `5.7.11`, see RFC 3463.
  static func isEnhancedCode(_ word: ArraySlice<UInt8>) -> Bool {
    let parts = word.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return parts.count == 3 && parts.allSatisfy { (1...3).contains($0.count) && $0.allSatisfy(Octet.isDigit) } && parts[0].count == 1
  }
}
