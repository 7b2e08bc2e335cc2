// Proxy: the process between client and server program, from the fork to the session's log line.
//
// One driver under poll. The control socket is polled too until the decision, so that STARTTLS is no longer offered
// after the helper has ended.
//
// The server that has started the server program counts its processes, and not this one. So once the server program has ended, the
// client has a limited time for the rest of its output: otherwise clients that do not read could keep any number of proxies.
//
// Contract: no status flag of an inherited description is set. If the client's connection is non-blocking, it is made
// blocking at the handoff, and that is logged. All descriptors are closed before the session's line is written.

import CKernel
import Glibc
import ProgramSupport
import SMTPState
import Transport

final class Proxy: SessionHost {
  private let options: Options
  private let stream: UCSPIStream
  private var driver: SessionDriver!
  /// True if the helper has ended.
  private var isHelperGone = false
  private var isDecided = false
  /// The socket to the server program, which the driver owns.
  private var serverNumber: CInt = -1
  /// When the session must be over; nil while the server program runs.
  private var endUntil: Int?

  private init(_ options: Options, _ stream: UCSPIStream) {
    self.options = options
    self.stream = stream
  }

  /// Runs the process.
  static func run(_ options: Options, _ stream: UCSPIStream, server: consuming Descriptor) -> ExitCode {
    // Closes the server program's descriptors, which this process does not use.
    let channels = stream.numbers
    let kept: InlineArray<4, CInt> = [channels[0], channels[1], channels[2], server.number]
    DetachedProcess.closeAll(but: kept.span)
    // A write to a client or helper that is gone then fails with EPIPE.
    signal(SIGPIPE, SIG_IGN)
    do throws(SystemError) {
      return try Proxy(options, stream).serve(ClientConnection.take(isNamed: options.verbosity >= 1), server)
    } catch {
      if options.verbosity >= 1 { StandardStreams.complain(Program.name, "\(error)") }
      return .system
    }
  }

  private func serve(_ connection: consuming ClientConnection, _ server: consuming Descriptor) throws(SystemError) -> ExitCode {
    let (peer, local) = (connection.peer, connection.local)
    serverNumber = server.number
    driver = SessionDriver(
      policy: options.policy, timeouts: options.timeouts, client: connection.client, server: .started(server), host: self,
      now: Clock.now())
    var failure: SystemError?
    do throws(SystemError) {
      driver.turn(now: Clock.now())
      while !driver.isFinished {
        try wait()
        driver.turn(now: Clock.now())
        if let endUntil, Clock.now() >= endUntil { driver.stop(as: .outputStalled) }
      }
    } catch {
      failure = error
      driver.stop()
    }
    stream.abandon()
    report(peer, local, failure)
    return ExitCode(driver.record.end)
  }

  /// Waits for an event or the deadline.
  private func wait() throws(SystemError) {
    let watches = driver.watches
    let control = isDecided || isHelperGone ? nil : stream.controlNumber
    // poll(2) ignores an entry with a negative number.
    if !driver.hasServer { noteEnd() }
    var entries: InlineArray<5, pollfd> = [
      Proxy.entry(watches.client?.descriptor, watches.client?.events),
      Proxy.entry(watches.clientOutput?.descriptor, watches.clientOutput?.events),
      Proxy.entry(watches.server?.descriptor, watches.server?.events),
      Proxy.entry(control, CShort(POLLIN)),
      // With no events poll still reports that the server program has ended, also while its output cannot be read.
      Proxy.entry(endUntil == nil ? serverNumber : nil, 0),
    ]
    let deadline = [driver.deadline, endUntil].compactMap { $0 }.min()
    let timeout = deadline.map { CInt(clamping: max(0, $0 - Clock.now())) } ?? -1
    var span = entries.mutableSpan
    let ready = span.withUnsafeMutableBufferPointer { poll($0.baseAddress, nfds_t($0.count), timeout) }
    guard ready >= 0 else {
      // A signal only shortens the wait: the driver reads the clock itself.
      if errno == EINTR { return }
      throw SystemError.last("poll")
    }
    if entries[4].revents != 0 { noteEnd() }
    if entries[3].revents != 0, !isTLSAvailable() {
      warn("the TLS helper is gone: STARTTLS is not offered")
      driver.withdrawTLS()
    }
  }

  /// The server program has ended, or its connection is closed.
  private func noteEnd() {
    if endUntil == nil { endUntil = Clock.time(options.endMilliseconds, after: Clock.now()) }
  }

  private static func entry(_ number: CInt?, _ events: CShort?) -> pollfd {
    pollfd(fd: number ?? -1, events: events ?? 0, revents: 0)
  }

  private func report(_ peer: String, _ local: String?, _ failure: SystemError?) {
    guard options.verbosity >= 1 else { return }
    let record = driver.record
    StandardStreams.complain(
      Program.name, SessionLine.text(peer: peer, local: local, record: record, failure: failure?.description))
    if record.tookOutKeywords, options.verbosity >= 2 {
      warn(
        """
        the server lists AUTH, STARTTLS, XCLIENT, XFORWARD or REQUIRETLS in clear: they are removed from its replies, but \
        not after a client's first MAIL
        """)
    }
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool {
    if !stream.isHelperWaiting { isHelperGone = true }
    return !isHelperGone
  }

  func handoff(_ proof: SMTPSession.Handoff, _ client: consuming PlaintextClient) -> any TLSStream {
    isDecided = true
    if options.verbosity >= 2 { warn("handoff: the TLS helper gets the client's connection") }
    var client = client
    do throws(SystemError) {
      if try client.clearNonBlockingForHandoff() {
        warn("the client's connection was non-blocking: O_NONBLOCK is cleared for the TLS helper")
      }
    } catch {
      warn("the client's connection cannot be made blocking: \(error)")
    }
    // From now on only the helper has the connection.
    _ = consume client
    return stream
  }

  func abort(_ proof: SMTPSession.Reason) {
    isDecided = true
    if options.verbosity >= 2 { warn("abort: \(proof.name): the TLS helper is no longer needed") }
    stream.abandon()
  }

  // The server cannot be replaced: the policy selects RSET, so these are not called.

  func endServer() {}
  func restart(_ facts: TLSFacts) -> ServerStart { .failed("the server program cannot be restarted") }

  private func warn(_ text: String) {
    if options.verbosity >= 1 { StandardStreams.complain(Program.name, text) }
  }
}
