// Relay, waiting: what the session waits for, timeouts, and a client whose connection broke.

import CKernel
import Glibc
import Transport
import TransportTLS

extension Relay {
  /// Waits until something can be moved, or the other side closes a channel.
  func wait(_ isMoving: Bool) throws(SystemError) {
    noteDeparture()
    var entries = [
      pollfd(fd: programInput, events: programInputEvents, revents: 0),
      // With no events poll still reports that the program has closed what it reads.
      pollfd(fd: program.outputNumber, events: programOutputEvents, revents: 0),
      pollfd(fd: clientInput, events: CShort(POLLIN), revents: 0),
      // With no events poll still reports that the client is gone.
      pollfd(fd: clientOutput, events: clientOutputEvents, revents: 0),
    ]
    let isReady = try Waiting.wait(&entries, until: isMoving ? 0 : deadline)
    if let deadline, Clock.now() >= deadline { return expire() }
    guard isReady else { return }
    if entries[0].revents != 0 { isProgramReadable = true }
    if entries[0].revents & (CShort(POLLHUP | POLLERR) | KERNEL_POLLRDHUP) != 0 { isProgramOutputOver = true }
    if entries[1].revents & CShort(POLLERR | POLLHUP) != 0 {
      loseProgram()
    } else if entries[1].revents != 0 {
      isProgramWritable = true
    }
    if entries[2].revents != 0 { isClientReadable = true }
    if entries[3].revents & CShort(POLLERR | POLLHUP) != 0 {
      hasHungUp = true
      // If our half has ended and there is no error, both halves have ended normally.
      if sendingEnded && entries[3].revents & CShort(POLLERR) == 0 { return }
      // A client without pending output may close at any time; the next read shows if it ended or broke.
      loseClient(toClient.isEmpty ? nil : "the client closed the connection before it had read all output")
    } else if entries[3].revents != 0 {
      isClientWritable = true
      if readWaitsToWrite { isClientReadable = true }
    }
  }

  private var programInput: CInt {
    toClient.room > 0 || !isProgramOutputOver ? program.inputNumber : -1
  }

  /// Without room only the end of the program's output is polled for.
  private var programInputEvents: CShort { toClient.room > 0 ? CShort(POLLIN) : KERNEL_POLLRDHUP }

  private var programOutputEvents: CShort { toProgram.isEmpty ? 0 : CShort(POLLOUT) }

  private var clientInput: CInt {
    clientEnded || readWaitsToWrite || toProgram.room == 0 ? -1 : stream.descriptor
  }

  /// The client's second descriptor, or the only one. After our half has ended, the second one may be closed.
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
    [lostDeadline ?? stall.until, goneDeadline, sessionDeadline].compactMap { $0 }.min()
  }

  /// Starts the client's time for the rest of the output once the program is gone.
  private func noteDeparture() {
    guard goneDeadline == nil, endTimeoutMilliseconds > 0, program.hasClosedInput, program.hasEnded || isProgramOutputOver else { return }
    goneDeadline = Clock.now() + endTimeoutMilliseconds
  }

  /// Handles an expired deadline.
  private func expire() {
    let now = Clock.now()
    if let sessionDeadline, now >= sessionDeadline {
      fail(Failure(.tls, "the session lasted too long and is closed (--session-timeout)"))
      isOver = true
    } else if lostDeadline == nil, let goneDeadline, now >= goneDeadline {
      loseClient("the program has ended, and the client did not read the rest of its output in time (--end-timeout)")
    } else if lostDeadline == nil {
      loseClient("the client read too little output in \(Relay.stallMilliseconds / 1000) s")
    } else {
      clientEnded = true
      loseProgram()
    }
  }

  /// Ends our half as soon as the kernel accepts the end.
  func endSending() {
    sendingEnded = stream.endSending()
    endWaitsToWrite = !sendingEnded
    guard endWaitsToWrite else { return stall.stop() }
    isClientWritable = false
    stall.start(now: Clock.now())
  }

  /// No more output can be sent.
  func loseClient(_ reason: String?) {
    if let reason { fail(Failure(.tls, reason)) }
    // The server program may hold the socket as well: without a shutdown the client would wait.
    stream.sendsCloseNotify = false
    _ = stream.endSending()
    toClient.removeAll()
    program.endInput()
    sendingEnded = true
    endWaitsToWrite = false
    stall.stop()
    // The next read shows the remaining octets of the client.
    isClientReadable = true
    if lostDeadline == nil { lostDeadline = Clock.now() + Relay.clientLostMilliseconds }
  }
}
