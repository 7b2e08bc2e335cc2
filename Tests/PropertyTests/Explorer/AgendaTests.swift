// The order in which a transition's effects are carried out, as the table in Agenda.swift gives reasons for it.

import XCTest

@testable import SMTPState

final class AgendaTests: XCTestCase {
  /// A change of this order needs a new reason in Agenda.swift for each of the new neighbours.
  private let order: [Effect] = [
    .abort, .endServer, .handoff, .passEarlier, .list, .stash, .pass, .dropReply, .forward, .reply, .resetServer, .peek, .restart,
    .settle, .relay, .close,
  ]

  func testTheOrder() {
    XCTAssertNil(Effect(rawValue: UInt8(order.count)), "an effect is missing here")
    var agenda = Agenda()
    for effect in order.reversed() { agenda.insert(effect) }
    var taken: [Effect] = []
    while let effect = agenda.takeFirst() { taken.append(effect) }
    XCTAssertEqual(taken, order)
  }

  /// Neighbours of which the table says that no transition issues both are never together, in no reachable state. The others are.
  func testNeighboursThatComeTogether() {
    var together: Set<[Effect]> = []
    for (_, policy) in StateMachinePage.policies() {
      _ = ControlGraph(policy) { command, rest in
        guard let effect = AgendaTests.effect(of: command), let place = order.firstIndex(of: effect), place + 1 < order.count else { return }
        var left = rest
        while let next = left.takeFirst() {
          if next == order[place + 1] { together.insert([effect, next]) }
        }
      }
    }
    XCTAssertEqual(together, [[.endServer, .handoff], [.passEarlier, .list], [.list, .stash]])
  }

  private static func effect(of command: Command) -> Effect? {
    switch command {
    case .keep, .drop(.client): nil
    case .drop(.reply): .dropReply
    case .forward: .forward
    case .pass: .pass
    case .stash: .stash
    case .passEarlier: .passEarlier
    case .reply(.starttlsKeyword): .list
    case .reply: .reply
    case .resetServer: .resetServer
    case .peek: .peek
    case .endServer: .endServer
    case .restart: .restart
    case .handoff: .handoff
    case .abort: .abort
    case .relay: .relay
    case .close: .close
    }
  }
}
