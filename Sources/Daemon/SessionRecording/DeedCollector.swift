// DeedCollector: what a conversation does, without what happens to it. It takes no more memory than one event leads to.

package import SMTPState
package import Transport

package final class DeedCollector: ConversationObserver {
  private let redaction: Redaction
  private var deeds: [Recording.Deed] = []

  package init(_ redaction: Redaction) {
    self.redaction = redaction
  }

  /// What was done since the last call.
  package func takeDeeds() -> [Recording.Deed] {
    defer { deeds = [] }
    return deeds
  }

  // MARK: ConversationObserver

  package func received(_ octets: Span<UInt8>, as input: ClientInput) {}
  package func receivedFromServer(_ octets: Span<UInt8>) {}
  package func happened(_ event: ConversationEvent) {}
  package func wrote(_ octets: Span<UInt8>) { deeds.append(redaction.deed(toClient: octets)) }

  package func wroteToServer(_ octets: Span<UInt8>, isResponse: Bool) {
    deeds.append(redaction.deed(toServer: octets, isResponse: isResponse))
  }

  package func decided(_ decision: SMTPConversation.Decision) { deeds.append(.decided(decision.words)) }
}

extension Redaction {
  /// Lines for the client.
  func deed(toClient octets: Span<UInt8>) -> Recording.Deed { .wrote(.client, Redaction.lines(octets.array).flatMap(reply)) }

  /// Lines for the server.
  ///
  /// - Parameter isResponse: true if the last one is a line of a SASL exchange.
  func deed(toServer octets: Span<UInt8>, isResponse: Bool) -> Recording.Deed {
    var lines = Redaction.lines(octets.array)
    let last = isResponse ? lines.popLast() : nil
    return .wrote(.server, lines.flatMap(command) + response(last ?? []))
  }

  private static func lines(_ octets: [UInt8]) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var rest = octets[...]
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
      lines.append(Array(rest[..<end]))
      rest = rest[end...]
    }
    return lines
  }
}

extension Span<UInt8> {
  var array: [UInt8] { withUnsafeBufferPointer { Array($0) } }
}
