// Relay: octets both ways between TLS and the server program, nothing lost.
//
// Each direction has its own bounded buffer and its own end. The end of one side is passed on once all that was read
// from it is delivered; a side that takes nothing more is no reason to drop what came from it. In detail:
//
//   the program ends      what it wrote goes to the client, then the sending half ends (-S: with close_notify)
//   the program is deaf   (it closed what it reads) what the client sends is discarded, what the program writes still
//                         goes out; once that has ended too, we linger and are done
//   the client ends       what it sent goes to the program, then that channel is closed; the program may answer on
//   the client is gone    (reset) the program's next write fails; what the client sent is still delivered, for 10 s at
//                         most, since a program that does not read would keep this process for ever
//   all of it lasts       longer than a session may: both sides are closed at once
//
// What is ready is remembered: an operation is tried again only after poll has said so, or as long as it moved all that
// there was room for. Decrypted octets inside the engine, which poll cannot see, count as ready.

import CKernel
import Glibc
import Transport
import TransportTLS

/// One TLS session after its handshake.
final class Relay {
  /// How long a client may take less than `stallOctets` of what waits for it. RFC 5321, 4.5.3.2 knows no longer wait than
  /// 10 minutes.
  static let stallMilliseconds = 600_000
  private static let stallOctets = 4096
  /// For the program to take what was read from a client whose connection broke.
  static let clientLostMilliseconds = 10_000
  /// The buffer of one direction.
  private static let capacity = 65_536

  /// Octets.
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
  /// Reading from the client waits until the engine could write.
  var readWaitsToWrite = false

  var clientEnded = false
  /// Our sending half has ended, or nothing can be sent any more.
  var sendingEnded = false
  /// The end of our sending half waits until the kernel takes the close_notify.
  var endWaitsToWrite = false
  /// Runs while something waits for the client.
  var stall = ProgressTimer(milliseconds: stallMilliseconds, leastOctets: stallOctets)
  /// When the program must have taken what a client sent before its connection broke; nil while it has not broken.
  var lostDeadline: Int?
  /// When the session must be over; nil: at no time.
  let sessionDeadline: Int?
  /// The session's deadline has passed.
  var isOver = false
  /// The client's hang-up is known and not polled for.
  var hasHungUp = false
  private var failure: Failure?

  init(
    _ stream: GnuTLSStream, _ program: consuming ProgramSide, requiresCloseNotify: Bool, until sessionDeadline: Int?
  ) {
    self.stream = stream
    self.sessionDeadline = sessionDeadline
    self.program = program
    self.requiresCloseNotify = requiresCloseNotify
  }

  /// Relays to the end.
  ///
  /// - Throws: what went wrong, once everything that could be delivered was.
  func run() throws(Failure) {
    while !isOver {
      let isMoving = move()
      if sendingEnded, program.hasEnded, program.isDeaf {
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

  /// Moves what can be moved without waiting, in a limited number of rounds: a direction that never rests must not keep
  /// the other one from being looked at.
  ///
  /// - Returns: whether more can be moved at once.
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
      // Behind a small record there is rarely another one; poll tells.
      if count < Relay.smallRecord { isClientReadable = false }
      // A deaf program's octets go nowhere.
      if program.isDeaf { toProgram.removeAll() }
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
      // OpenSSL answers an end without close_notify with an alert: that is ours by choice and no failure.
      let isAnswer = sendingEnded && !requiresCloseNotify
      loseClient(isAnswer ? nil : stream.failure ?? "\(error)")
      return true
    }
  }

  private func writeProgram() -> Bool {
    guard isProgramWritable, !program.isDeaf, !toProgram.isEmpty else { return false }
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

  /// Passes an end on behind the last octet that came before it.
  private func passEndsOn() {
    if program.hasEnded, toClient.isEmpty, !sendingEnded, isClientWritable { endSending() }
    if clientEnded, toProgram.isEmpty, !program.isDeaf { program.endOutput() }
  }
}
