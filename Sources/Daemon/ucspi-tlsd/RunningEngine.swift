// RunningEngine: passes a session to a TLS engine that already runs, `tlsd-io --listen`.
//
// Contract: the engine takes the session, or the helper still has it complete; never both. The engine gets the descriptors only
// after it has accepted the session. After the time for its answer, no answer can come any more.
//
// Failure: a Refusal, which states why the engine did not take the session.

import Glibc
import ProgramSupport
import Transport

/// The engine at a path.
struct RunningEngine {
  /// Why the session was not taken.
  struct Refusal: Error {
    let description: String
  }

  /// The time for an answer. The engine needs a few milliseconds.
  private static let milliseconds = 5_000
  private static let answerLimit = 1_024

  let path: String
  let request: EngineRequest

  /// Passes the session and waits for its end.
  ///
  /// - Returns: the exit code of the session; nil if the engine ended without one.
  func serve(_ ends: borrowing ChannelEnds) throws(Refusal) -> CInt? {
    let socket = try offer()
    try RunningEngine.awaitAcceptance(socket)
    do throws(SystemError) { try send(ends, to: socket) } catch { return nil }
    // The engine has its own descriptors of the session: its ends are seen only if these are closed.
    Kernel.close(STDIN_FILENO)
    Kernel.close(STDOUT_FILENO)
    let kept: InlineArray<1, CInt> = [socket.descriptor.number]
    DetachedProcess.closeAll(but: kept.span)
    guard case .message(let message) = socket.next(limit: 1, within: -1) else { return nil }
    return message.octets.first.map { CInt($0) }
  }

  private func offer() throws(Refusal) -> MessageSocket {
    guard let octets = request.octets else { throw Refusal(description: "the settings are too long") }
    let socket: MessageSocket
    do throws(SystemError) { socket = try MessageSocket.connect(to: path) } catch { throw Refusal(description: "\(error)") }
    do throws(SystemError) { try socket.send(octets) } catch {
      // An engine that refuses every session for now has sent the reason before.
      guard case .message(let message) = socket.receive(limit: RunningEngine.answerLimit) else {
        throw Refusal(description: "\(error)")
      }
      throw Refusal(description: String(decoding: message.octets, as: UTF8.self))
    }
    return socket
  }

  private func send(_ ends: borrowing ChannelEnds, to socket: borrowing MessageSocket) throws(SystemError) {
    for descriptor in EngineDescriptor.allCases {
      let number =
        switch descriptor {
        case .input: STDIN_FILENO
        case .output: STDOUT_FILENO
        case .errors: STDERR_FILENO
        case .reading: ends.reading.number
        case .writing: ends.writing.number
        case .control: request.isReporting ? ends.control.number : -1
        }
      if number >= 0 { try socket.send([descriptor.rawValue], descriptor: number) }
    }
  }

  private static func awaitAcceptance(_ socket: borrowing MessageSocket) throws(Refusal) {
    switch RunningEngine.answer(socket) {
    case .message(let message):
      if message.octets == EngineRequest.accepted { return }
      throw Refusal(description: String(decoding: message.octets, as: UTF8.self))
    case .ended: throw Refusal(description: "it ended without an answer")
    case .nothing: throw Refusal(description: "no answer in \(milliseconds / 1000) s")
    }
  }

  /// The answer. After the time for it has passed, only one that was sent before counts.
  private static func answer(_ socket: borrowing MessageSocket) -> MessageSocket.Received {
    switch socket.next(limit: answerLimit, within: milliseconds) {
    case .message(let message): return .message(message)
    case .ended: return .ended
    case .nothing:
      socket.endReceiving()
      // Its end is only that of this side.
      guard case .message(let message) = socket.receive(limit: answerLimit) else { return .nothing }
      return .message(message)
    }
  }
}
