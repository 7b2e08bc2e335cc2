// KnownProgram: server programs that are known to treat a client as a local user.
//
// They examine the peer of descriptor 0. If it is not a TCP socket, they trust it. They are recognised by the words of
// the command line, so that a program started through env, nice or `sh -c` is recognised as well. A word that only
// looks like one of them is a false positive: the error message names the option that overrides it.

import Glibc

/// A program that trusts its descriptor.
package enum KnownProgram: Hashable, Sendable {
  /// Exim, which accepts the client's address with `-oMa`.
  case exim
  /// Any program called sendmail (of Sendmail, Postfix or others), and Postfix's smtpd started by hand.
  case sendmail

  /// The known program that a command line starts without the client's address; nil if there is none.
  package static func trusting(
    _ arguments: UnsafePointer<UnsafeMutablePointer<CChar>?>
  ) -> KnownProgram? {
    var found: KnownProgram?
    var hasAddress = false
    var argument = arguments
    while let text = argument.pointee {
      forEachWord(of: text) { word in
        // Postfix's sendmail and others ignore -oMa.
        if word.elementsEqual("-oMa".utf8) { hasAddress = true }
        guard found != .sendmail, let known = KnownProgram(word: word) else { return }
        found = known
      }
      argument += 1
    }
    return found == .exim && hasAddress ? nil : found
  }

  /// The same for a command line in an array.
  package static func trusting(_ arguments: [String]) -> KnownProgram? {
    var list = arguments.map { strdup($0) } + [nil]
    defer { for text in list { free(text) } }
    return list.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { trusting(UnsafePointer($0)) } }
  }

  /// Examines a word of a command line: a path or a name, such as `sendmail.postfix`. `NAME=value` is not a program.
  private init?(word: UnsafeBufferPointer<UInt8>) {
    guard !word.contains(UInt8(ascii: "=")) else { return nil }
    var name = word[...]
    if let slash = name.lastIndex(of: UInt8(ascii: "/")) { name = name[(slash + 1)...] }
    if name.elementsEqual("exim".utf8) || name.elementsEqual("exim4".utf8) {
      self = .exim
    } else if name.elementsEqual("sendmail".utf8) || name.starts(with: "sendmail.".utf8) {
      self = .sendmail
    } else if name.elementsEqual("smtpd".utf8), word.dropLast(name.count).contains("postfix") {
      self = .sendmail
    } else {
      return nil
    }
  }

  /// The words of an argument, which may be a script for a shell.
  private static func forEachWord(of text: UnsafePointer<CChar>, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
    let octets = UnsafeBufferPointer(
      start: UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self), count: strlen(text))
    var start = 0
    for index in 0...octets.count where index == octets.count || separates(octets[index]) {
      if index > start { body(UnsafeBufferPointer(rebasing: octets[start..<index])) }
      start = index + 1
    }
  }

  /// White space, and characters that end or start a word in a shell.
  private static func separates(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: " "), UInt8(ascii: ";"), UInt8(ascii: "&"),
      UInt8(ascii: "|"), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "`"),
      UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "{"), UInt8(ascii: "}"):
      true
    default: false
    }
  }
}

extension Slice<UnsafeBufferPointer<UInt8>> {
  /// True if it contains these octets.
  fileprivate func contains(_ text: StaticString) -> Bool {
    let count = text.utf8CodeUnitCount
    guard self.count >= count else { return false }
    return indices.dropLast(count - 1).contains { self[$0...].starts(with: UnsafeBufferPointer(start: text.utf8Start, count: count)) }
  }
}
