// Relay: copies octets in both directions between TLS and the server program without loss.
//
// Each direction has its own bounded buffer and its own end. The end of one side is passed on after all octets read
// from it are delivered. If a side accepts no more octets, the octets from that side are still delivered. In detail:
//
//   program ends          its output goes to the client, then the sending half ends (-S: with close_notify)
//   program stops reading (it closed what it reads) the client's octets are discarded, the program's output is still
//                         sent; after its end the connection lingers and closes
//   client ends           its octets go to the program, then that channel is closed; the program may still send
//   client is gone        (reset) the program's next write fails; the client's octets are still delivered, for at most
//                         10 s, since a program that does not read would otherwise keep this process for ever
//   program is gone       (both its channels have ended) the client has a limited time for the rest of its output. The server
//                         that has started the program does not count this process
//   session timeout       both sides are closed at once
//
// Readiness is stored: an operation is tried again only after poll has reported it, or while it fills the available
// room. Decrypted octets inside the engine, which poll cannot see, count as ready.

import CKernel
import Glibc
import Transport
import TransportTLS

/// One TLS session after its handshake.
final class Relay {
  /// The time in which a client must take `stallOctets` of its pending output. RFC 5321, 4.5.3.2 has no timeout longer
  /// than 10 minutes.
  static let stallMilliseconds = 600_000
  private static let stallOctets = 4096
  /// The time for the program to take what was read from a client whose connection broke.
  static let clientLostMilliseconds = 10_000
  /// The buffer of one direction.
  private static let capacity = 65_536

  /// Its size in octets.
  private static let smallRecord = 4096

  let stream: GnuTLSStream
  private let requiresCloseNotify: Bool
  var program: ProgramSide

  var toClient = ByteQueue(capacity: capacity)
  var toProgram = ByteQueue(capacity: capacity)

  var isProgramReadable = true
  var isProgramWritable = true
  var isClientReadable = true
  var isClientWritable = true
  /// A read from the client waits until the engine can write.
  var readWaitsToWrite = false

  var clientEnded = false
  /// Our sending half has ended, or no more output can be sent.
  var sendingEnded = false
  /// The end of our sending half is pending until the kernel accepts the close_notify.
  var endWaitsToWrite = false
  /// Runs while output for the client is pending.
  var stall = ProgressTimer(milliseconds: stallMilliseconds, leastOctets: stallOctets)
  /// The time until which the program must have taken the octets of a client whose connection broke; nil if it has not
  /// broken.
  var lostDeadline: Int?
  /// The program has ended its output, of which the last octets may be unread.
  var isProgramOutputOver = false
  /// The time until which the client must have taken the output of a program that is gone; nil if it is not, or without a limit.
  var goneDeadline: Int?
  /// The time that it has; 0: no limit.
  let endTimeoutMilliseconds: Int
  /// The time at which the session must end; nil: none.
  let sessionDeadline: Int?
  /// True if the session's deadline has passed.
  var isOver = false
  /// The client's hang-up is known and is not polled for.
  var hasHungUp = false
  private var failure: Failure?

  init(
    _ stream: GnuTLSStream, _ program: consuming ProgramSide, requiresCloseNotify: Bool, until sessionDeadline: Int?,
    endTimeoutMilliseconds: Int
  ) {
    self.endTimeoutMilliseconds = endTimeoutMilliseconds
    self.stream = stream
    self.sessionDeadline = sessionDeadline
    self.program = program
    self.requiresCloseNotify = requiresCloseNotify
  }

  /// Relays until the end.
  ///
  /// - Throws: the failure, after everything that can be delivered was delivered.
  func run() throws(Failure) {
    while !isOver {
      let isMoving = move()
      if sendingEnded, program.hasEnded, program.hasClosedInput {
        if !clientEnded { Linger.run(stream) }
        break
      }
      do throws(SystemError) {
        try wait(isMoving)
      } catch {
        throw Failure("relay", error)
      }
    }
    if let failure { throw failure }
  }

  /// Moves what can be moved without waiting, in a limited number of rounds, so that one busy direction cannot starve
  /// the other.
  ///
  /// - Returns: true if more can be moved at once.
  private func move() -> Bool {
    for _ in 0..<16 {
      var isMoving = readProgram()
      if writeClient() { isMoving = true }
      if readClient() { isMoving = true }
      if writeProgram() { isMoving = true }
      passEndsOn()
      if !isMoving { return false }
    }
    return true
  }
}

// MARK: - Program to client

extension Relay {
  private func readProgram() -> Bool {
    guard isProgramReadable, !program.hasEnded, toClient.room > 0 else { return false }
    var offered = 0
    let answer = toClient.fill {
      offered = $0.count
      return program.read(into: $0)
    }
    switch answer {
    case .moved(let count):
      isProgramReadable = count == offered
      return true
    case .wouldBlock:
      isProgramReadable = false
      return false
    case .failed(let error):
      if error.code != ECONNRESET { fail(Failure("reading from the program", error)) }
      program.endInput()
      return true
    case .ended:
      program.endInput()
      return true
    }
  }

  private func writeClient() -> Bool {
    guard isClientWritable, !sendingEnded, !toClient.isEmpty else { return false }
    switch toClient.drain({ stream.write($0) }) {
    case .moved(let count):
      stall.moved(count, now: Clock.now())
      if toClient.isEmpty { stall.stop() }
      return true
    case .wouldBlock:
      isClientWritable = false
      stall.start(now: Clock.now())
      return false
    case .failed, .ended:
      loseClient(stream.failure ?? "the client is gone")
      return true
    }
  }
}

// MARK: - Client to program

extension Relay {
  private func readClient() -> Bool {
    guard isClientReadable || stream.hasPending, !clientEnded, toProgram.room > 0 else { return false }
    readWaitsToWrite = false
    switch toProgram.fill({ stream.read(into: $0) }) {
    case .moved(let count):
      // A small record is rarely followed by another one; poll reports it if there is one.
      if count < Relay.smallRecord { isClientReadable = false }
      // If the program does not read, the octets are discarded.
      if program.hasClosedInput { toProgram.removeAll() }
      return true
    case .wouldBlock:
      isClientReadable = false
      readWaitsToWrite = stream.direction == .write
      return false
    case .ended:
      clientEnded = true
      if stream.facts.truncated, requiresCloseNotify {
        fail(Failure(.tls, "the client ended the connection without close_notify"))
      }
      return true
    case .failed(let error):
      clientEnded = true
      // OpenSSL answers an end without close_notify with an alert: that end is our choice, so it is no failure.
      let isAnswer = sendingEnded && !requiresCloseNotify
      loseClient(isAnswer ? nil : stream.failure ?? "\(error)")
      return true
    }
  }

  private func writeProgram() -> Bool {
    guard isProgramWritable, !program.hasClosedInput, !toProgram.isEmpty else { return false }
    switch toProgram.drain({ program.write($0) }) {
    case .moved: return true
    case .wouldBlock:
      isProgramWritable = false
      return false
    case .failed(let error):
      if error.code != EPIPE, error.code != ECONNRESET { fail(Failure("writing to the program", error)) }
      loseProgram()
      return true
    case .ended: return false
    }
  }

  /// The program reads no more.
  func loseProgram() {
    toProgram.removeAll()
    program.endOutput()
  }

  func fail(_ failure: Failure) {
    if self.failure == nil { self.failure = failure }
  }

  /// Passes an end on after the last octet that came before it.
  private func passEndsOn() {
    if program.hasEnded, toClient.isEmpty, !sendingEnded, isClientWritable { endSending() }
    if clientEnded, toProgram.isEmpty, !program.hasClosedInput { program.endOutput() }
  }
}
