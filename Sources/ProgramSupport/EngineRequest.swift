// EngineRequest: what a helper sends to a TLS engine that already runs, and what it gets back.
//
// Contract: over a `MessageSocket` the helper sends the settings. The engine answers with one message: `accepted`, or why it does
// not take the session. Then the helper sends the descriptors, one with each message, in the order of `EngineDescriptor`. After
// the end of the session the engine sends one octet, the exit code that the program would have had.
//
// An engine serves with one setting only: with other certificates than the helper's, or without the request for a client's
// certificate, a session would not be what the operator has configured.

import Glibc
import Transport

/// The descriptors of a session, in the order in which they are sent.
package enum EngineDescriptor: UInt8, CaseIterable, Sendable {
  /// Standard input: the client.
  case input
  /// Standard output: the client.
  case output
  /// Standard error.
  case errors
  /// Octets to send into TLS.
  case reading
  /// Octets out of TLS.
  case writing
  /// For the report; only if one is requested.
  case control
}

/// The settings of a session, or of an engine.
package struct EngineRequest: Hashable, Sendable {
  /// The longest message. Its length is that of the variables that name the certificates.
  package static let limit = 32_768
  /// The answer to a session that the engine takes.
  package static let accepted: [UInt8] = [UInt8(ascii: "+")]

  /// The options.
  package var options: TLSHelperOptions
  /// True if the session is reported on the control socket.
  package var isReporting: Bool
  /// The variables that name certificates, keys and users: `NAME=value`, sorted.
  package var variables: [String]

  /// The settings of this process.
  package init(_ options: TLSHelperOptions, isReporting: Bool) {
    self.options = options
    self.isReporting = isReporting
    variables = ProcessEnvironment.tlsSettings.sorted()
  }

  /// The message; nil if it is too long.
  package var octets: [UInt8]? {
    var octets: [UInt8] = [UInt8(ascii: isReporting ? "Y" : "y")]
    for text in options.arguments + [""] + variables { octets += Array(text.utf8) + [0] }
    return octets.count <= EngineRequest.limit ? octets : nil
  }

  /// Reads the message.
  package init(_ octets: [UInt8]) throws(CommandLineError) {
    guard octets.last == 0, let command = octets.first, [UInt8(ascii: "Y"), UInt8(ascii: "y")].contains(command) else {
      throw CommandLineError("the request has an unknown form")
    }
    let texts = octets.dropFirst().dropLast().split(separator: 0, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard let end = texts.firstIndex(of: "") else { throw CommandLineError("the request is incomplete") }
    isReporting = command == UInt8(ascii: "Y")
    variables = Array(texts[(end + 1)...])
    options = try EngineRequest.options(["request"] + texts[..<end])
  }

  private static func options(_ words: [String]) throws(CommandLineError) -> TLSHelperOptions {
    let arguments = CommandLineOption.Arguments.allocate(capacity: words.count + 1)
    for (index, word) in words.enumerated() { arguments[index] = strdup(word) }
    arguments[words.count] = nil
    defer {
      for index in words.indices { free(arguments[index]) }
      arguments.deallocate()
    }
    var options = TLSHelperOptions()
    let first = try TLSHelperOptions.Option.parse(count: CInt(words.count), arguments: arguments) {
      (option, value) throws(CommandLineError) in try options.accept(option, value)
    }
    guard first == words.count else { throw CommandLineError("the request has a word too many") }
    return options
  }

  /// Why an engine with the settings `own` must not take this session; nil if it may.
  package func difference(from own: EngineRequest) -> String? {
    if options.serverNameLevel != own.options.serverNameLevel { return "-k differs" }
    if options.clientCertificate != own.options.clientCertificate { return "-y or -Y differs" }
    if options.profile != own.options.profile { return "--tls-profile differs" }
    if options.groupNames != own.options.groupNames { return "--tls-groups differs" }
    let mine = Set(own.variables)
    let other = Set(variables).symmetricDifference(mine).map { String($0.prefix { $0 != "=" }) }.min()
    return other.map { "\($0) differs" }
  }
}
