// Relay, the waiting: what the session waits for, how long, and what becomes of a client that is gone.

import CKernel
import Glibc
import Transport
import TransportTLS

extension Relay {
  /// Waits until something can be moved, or a channel is closed by its other side.
  func wait(_ isMoving: Bool) throws(SystemError) {
    var entries = [
      pollfd(fd: programInput, events: CShort(POLLIN), revents: 0),
      // Without events poll still tells that the program is deaf.
      pollfd(fd: program.outputNumber, events: programOutputEvents, revents: 0),
      pollfd(fd: clientInput, events: CShort(POLLIN), revents: 0),
      // Without events poll still tells that the client is gone.
      pollfd(fd: clientOutput, events: clientOutputEvents, revents: 0),
    ]
    let isReady = try Waiting.wait(&entries, until: isMoving ? 0 : deadline)
    if let deadline, Clock.now() >= deadline { return expire() }
    guard isReady else { return }
    if entries[0].revents != 0 { isProgramReadable = true }
    if entries[1].revents & CShort(POLLERR | POLLHUP) != 0 {
      loseProgram()
    } else if entries[1].revents != 0 {
      isProgramWritable = true
    }
    if entries[2].revents != 0 { isClientReadable = true }
    if entries[3].revents & CShort(POLLERR | POLLHUP) != 0 {
      hasHungUp = true
      // Both halves have ended in good order if ours has and there is no error.
      if sendingEnded && entries[3].revents & CShort(POLLERR) == 0 { return }
      // A client for which nothing was pending may go at any time; reading says whether it ended or broke.
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

  /// The client's second descriptor, or the only one. Once our half has ended the second one may be closed.
  private var clientOutput: CInt {
    if hasHungUp || lostDeadline != nil { return -1 }
    return sendingEnded ? stream.descriptor : stream.outputDescriptor
  }

  private var clientOutputEvents: CShort {
    if sendingEnded { return 0 }
    return readWaitsToWrite || !isClientWritable && (!toClient.isEmpty || endWaitsToWrite) ? CShort(POLLOUT) : 0
  }
}

// MARK: - Ends

extension Relay {
  private var deadline: Int? {
    [lostDeadline ?? stall.until, sessionDeadline].compactMap { $0 }.min()
  }

  /// A deadline has passed.
  private func expire() {
    let now = Clock.now()
    if let sessionDeadline, now >= sessionDeadline {
      fail(Failure(.tls, "the session lasted too long: it is closed (--session-timeout)"))
      isOver = true
    } else if lostDeadline == nil {
      loseClient("the client took too little in \(Relay.stallMilliseconds / 1000) s")
    } else {
      clientEnded = true
      loseProgram()
    }
  }

  /// Ends our half, once the kernel takes what ends it.
  func endSending() {
    sendingEnded = stream.endSending()
    endWaitsToWrite = !sendingEnded
    guard endWaitsToWrite else { return stall.stop() }
    isClientWritable = false
    stall.start(now: Clock.now())
  }

  /// Nothing can be sent any more.
  func loseClient(_ reason: String?) {
    if let reason { fail(Failure(.tls, reason)) }
    // The server program may hold the socket as well: without a word the client would wait for it.
    stream.sendsCloseNotify = false
    _ = stream.endSending()
    toClient.removeAll()
    program.endInput()
    sendingEnded = true
    endWaitsToWrite = false
    stall.stop()
    // Reading says what is left of the client's octets.
    isClientReadable = true
    if lostDeadline == nil { lostDeadline = Clock.now() + Relay.clientLostMilliseconds }
  }
}
