// EngineSession: the process of one session that a helper has passed to an engine.
//
// Order: receive the request, compare the settings, drop privileges, answer; only then the helper sends the descriptors. So an
// engine that does not answer never holds a descriptor of the session, and its helper can execute another one.
//
// Failure: a refusal with one line, which the helper logs. After the acceptance as in a program for one session; the exit
// code goes to the helper.

import CKernel
import Glibc
import ProgramSupport
import Transport
import TransportTLS

struct EngineSession {
  /// The time for a request. The helper has written it before this process exists, or writes it at once.
  private static let requestMilliseconds = 5_000

  let own: EngineRequest
  let files: EngineFiles
  let priorities: TLSPriorities

  /// Serves the session of a helper and ends the process.
  func run(_ socket: consuming MessageSocket) -> Never {
    signal(SIGHUP, SIG_DFL)
    EngineSession.closeOthers(socket.descriptor.number)
    let request: EngineRequest
    do throws(Failure) {
      request = try EngineSession.request(socket)
      if let difference = request.difference(from: own) {
        throw Failure(.usage, "it was started with other settings: \(difference)")
      }
      try Privileges.drop()
    } catch {
      try? socket.send(Array(error.description.utf8.prefix(512)))
      _exit(error.code.rawValue)
    }
    let code = serve(socket, request)
    try? socket.send([UInt8(code.rawValue)])
    _exit(code.rawValue)
  }

  private func serve(_ socket: borrowing MessageSocket, _ request: EngineRequest) -> ExitCode {
    do throws(Failure) {
      var options = Options()
      options.helper = request.options
      options.helper.limitTimeouts(to: own.options)
      do throws(SystemError) { try socket.send(EngineRequest.accepted) } catch { throw Failure("answer", error) }
      try EngineSession.take(socket, &options, isReporting: request.isReporting)
      try Program.serve(try Program.channels(options), files.credentials, priorities, options.helper)
      return .done
    } catch {
      if request.options.verbosity >= 1 { StandardStreams.complain(Program.name, error.description) }
      return error.code
    }
  }

  private static func request(_ socket: borrowing MessageSocket) throws(Failure) -> EngineRequest {
    guard case .message(let message) = socket.next(limit: EngineRequest.limit, within: requestMilliseconds) else {
      throw Failure(.system, "no request")
    }
    do throws(CommandLineError) {
      return try EngineRequest(message.octets)
    } catch {
      throw Failure(.usage, error.description)
    }
  }

  /// Closes the engine's descriptors, which no value of this process will use.
  private static func closeOthers(_ number: CInt) {
    let kept: InlineArray<1, CInt> = [number]
    DetachedProcess.closeAll(but: kept.span)
  }

  /// Receives the descriptors and puts the first three where they belong.
  private static func take(
    _ socket: borrowing MessageSocket, _ options: inout Options, isReporting: Bool
  ) throws(Failure) {
    for place in EngineDescriptor.allCases where place != .control || isReporting {
      guard case .message(var message) = socket.next(limit: 1, within: requestMilliseconds), message.octets == [place.rawValue],
        let descriptor = message.descriptor.take()
      else { throw Failure(.usage, "a descriptor is missing in the request") }
      switch place {
      case .input: try put(descriptor, at: STDIN_FILENO)
      case .output: try put(descriptor, at: STDOUT_FILENO)
      case .errors:
        try put(descriptor, at: STDERR_FILENO)
      case .reading: options.reading = descriptor.release()
      case .writing: options.writing = descriptor.release()
      case .control: options.notification = descriptor.release()
      }
    }
  }

  private static func put(_ descriptor: consuming Descriptor, at number: CInt) throws(Failure) {
    guard dup2(descriptor.number, number) >= 0 else { throw Failure("dup2", .last("dup2")) }
  }
}

extension TLSHelperOptions {
  /// Reduces the timeouts to those of the engine; 0, none, is more than any other.
  fileprivate mutating func limitTimeouts(to own: TLSHelperOptions) {
    func least(_ requested: Int?, _ most: Int?, _ usual: Int) -> Int {
      [requested ?? usual, most ?? usual].filter { $0 > 0 }.min() ?? 0
    }
    handshakeTimeoutMilliseconds = least(
      handshakeTimeoutMilliseconds, own.handshakeTimeoutMilliseconds, Handshake.defaultMilliseconds)
    sessionTimeoutMilliseconds = least(
      sessionTimeoutMilliseconds, own.sessionTimeoutMilliseconds, TLSHelperOptions.defaultSessionMilliseconds)
    endTimeoutMilliseconds = least(
      endTimeoutMilliseconds, own.endTimeoutMilliseconds, TLSHelperOptions.defaultEndMilliseconds)
  }
}
