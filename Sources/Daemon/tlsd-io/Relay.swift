// Relay: octets both ways between TLS and the server program, nothing lost.
//
// Each direction has its own bounded buffer and its own end. The end of one side is passed on once all that was read
// from it is delivered; a side that takes nothing more is no reason to drop what came from it. In detail:
//
//   the program ends      what it wrote goes to the client, then the sending half ends (-S: with close_notify)
//   the program is deaf   (it closed what it reads) what the client sends is discarded, what the program writes still
//                         goes out; once that has ended too, we linger and are done
//   the client ends       what it sent goes to the program, then that channel is closed; the program may answer on
//   the client is gone    the program's next write fails; what the client sent is still delivered
//
// What is ready is remembered: an operation is tried again only after poll has said so, or as long as it moved all that
// there was room for. Decrypted octets inside the engine, which poll cannot see, count as ready.

import CKernel
import Glibc
import Transport
import TransportTLS

/// One TLS session behind its handshake.
final class Relay {
  /// How long a client may take nothing of what waits for it. RFC 5321, 4.5.3.2 knows no longer wait than 10 minutes.
  private static let stallMilliseconds = 600_000
  /// The buffer of one direction.
  private static let capacity = 65_536

  /// Octets.
  private static let smallRecord = 4096

  private let stream: GnuTLSStream
  private let requiresCloseNotify: Bool
  private var program: ProgramSide

  private var toClient = ByteQueue(capacity: capacity)
  private var toProgram = ByteQueue(capacity: capacity)

  private var isProgramReadable = true
  private var isProgramWritable = true
  private var isClientReadable = true
  private var isClientWritable = true
  /// Reading from the client waits until the engine could write.
  private var readWaitsToWrite = false

  private var clientEnded = false
  /// Our sending half has ended, or nothing can be sent any more.
  private var sendingEnded = false
  /// When the client must have taken something; nil while nothing waits for it.
  private var stallDeadline: Int?
  private var failure: Failure?

  init(_ stream: GnuTLSStream, _ program: consuming ProgramSide, requiresCloseNotify: Bool) {
    self.stream = stream
    self.program = program
    self.requiresCloseNotify = requiresCloseNotify
  }

  /// Relays to the end.
  ///
  /// - Throws: what went wrong, once everything that could be delivered was.
  func run() throws(Failure) {
    while true {
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
    case .moved:
      stallDeadline = nil
      return true
    case .wouldBlock:
      isClientWritable = false
      if stallDeadline == nil { stallDeadline = Clock.now() + Relay.stallMilliseconds }
      return false
    case .failed, .ended:
      loseClient(stream.failure ?? "the client is gone")
      return true
    }
  }

  /// Nothing can be sent any more.
  private func loseClient(_ reason: String?) {
    if let reason { fail(Failure(.tls, reason)) }
    // The server program may hold the socket as well: without a word the client would wait for it.
    stream.sendsCloseNotify = false
    stream.endSending()
    toClient.removeAll()
    program.endInput()
    sendingEnded = true
    stallDeadline = nil
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
  private func loseProgram() {
    toProgram.removeAll()
    program.endOutput()
  }

  private func fail(_ failure: Failure) {
    if self.failure == nil { self.failure = failure }
  }

  /// Passes an end on behind the last octet that came before it.
  private func passEndsOn() {
    if program.hasEnded, toClient.isEmpty, !sendingEnded {
      stream.endSending()
      sendingEnded = true
    }
    if clientEnded, toProgram.isEmpty, !program.isDeaf { program.endOutput() }
  }
}

// MARK: - Waiting

extension Relay {
  /// Waits until something can be moved, or a channel is closed by its other side.
  private func wait(_ isMoving: Bool) throws(SystemError) {
    var entries = [
      pollfd(fd: programInput, events: CShort(POLLIN), revents: 0),
      // Without events poll still tells that the program is deaf.
      pollfd(fd: program.outputNumber, events: programOutputEvents, revents: 0),
      pollfd(fd: clientInput, events: CShort(POLLIN), revents: 0),
      // Without events poll still tells that the client is gone.
      pollfd(fd: sendingEnded ? -1 : stream.outputDescriptor, events: clientOutputEvents, revents: 0),
    ]
    guard try Waiting.wait(&entries, until: isMoving ? 0 : stallDeadline) else {
      if !isMoving { loseClient("the client took nothing for \(Relay.stallMilliseconds / 1000) s") }
      return
    }
    if entries[0].revents != 0 { isProgramReadable = true }
    if entries[1].revents & CShort(POLLERR | POLLHUP) != 0 {
      loseProgram()
    } else if entries[1].revents != 0 {
      isProgramWritable = true
    }
    if entries[2].revents != 0 { isClientReadable = true }
    if entries[3].revents & CShort(POLLERR | POLLHUP) != 0 {
      // A client that was owed nothing has a right to go; reading says whether it ended or broke.
      loseClient(toClient.isEmpty ? nil : "the client went before it had taken everything")
    } else if entries[3].revents != 0 {
      isClientWritable = true
      if readWaitsToWrite { isClientReadable = true }
    }
  }

  private var programInput: CInt {
    toClient.room > 0 ? program.inputNumber : -1
  }

  private var programOutputEvents: CShort { toProgram.isEmpty ? 0 : CShort(POLLOUT) }

  private var clientInput: CInt {
    clientEnded || readWaitsToWrite || toProgram.room == 0 ? -1 : stream.descriptor
  }

  private var clientOutputEvents: CShort {
    readWaitsToWrite || !isClientWritable && !toClient.isEmpty ? CShort(POLLOUT) : 0
  }
}
