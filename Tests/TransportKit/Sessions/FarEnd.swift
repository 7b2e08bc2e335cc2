// FarEnd: the other end of a connection of the driver's, as a script reads and writes it.
//
// It never waits, and it calls the C library itself: the faults of `Kernel.fault` meet the driver's calls only, and
// only those are counted. What is read is kept until a script takes it; what is sent is written as the kernel takes it,
// or in pieces of a size that a test chooses.

import Glibc

/// One end of a connection, played by a script.
final class FarEnd {
  /// What has come and was not taken yet.
  private(set) var inbox: ArraySlice<UInt8> = []
  /// No more comes: the other end has ended its sending half, or the connection broke.
  private(set) var hasEnded = false
  /// The connection was reset.
  private(set) var isBroken = false
  /// How many octets a step writes at most.
  var cut = Int.max
  /// It reads nothing.
  var hasStoppedReading = false

  private let isSocket: Bool
  private var input: CInt
  private var output: CInt
  private var outbox: ArraySlice<UInt8> = []
  private var sending = Sending.open

  private enum Sending {
    /// It ends after the pending octets, or has ended.
    case open, ending, ended
  }

  /// Takes over a socket. Its description may be shared: no flag of it is changed.
  init(socket number: CInt) {
    isSocket = true
    input = number
    output = number
  }

  /// Takes over the reading and the writing end of two pipes. Their descriptions are the script's alone.
  init(reading input: CInt, writing output: CInt) {
    isSocket = false
    self.input = input
    self.output = output
    for number in [input, output] { _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK) }
  }

  deinit { close() }

  var isOpen: Bool { input >= 0 || output >= 0 }
  /// The descriptors that are still open, to be polled.
  var numbers: [CInt] { [input, output].filter { $0 >= 0 } }
  var hasToSend: Bool { !outbox.isEmpty }

  /// Takes up to `count` of the octets that have come.
  func take(_ count: Int = Int.max) -> ArraySlice<UInt8> {
    let taken = inbox.prefix(count)
    inbox = inbox.dropFirst(taken.count)
    return taken
  }

  /// Sends octets, after all that was sent before.
  func say(_ octets: some Sequence<UInt8>) { outbox += octets }

  /// Ends the sending half after all that was sent.
  func endSending() { if sending == .open { sending = .ending } }

  /// Writes and reads once; whether anything moved.
  func step() -> Bool {
    let isWritten = write()
    return read() || isWritten
  }

  private func write() -> Bool {
    guard output >= 0 else { return false }
    guard !outbox.isEmpty else { return sending == .ending && shutDown() }
    let piece = Array(outbox.prefix(cut))
    let count =
      isSocket
      ? send(output, piece, piece.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
      : Glibc.write(output, piece, piece.count)
    if count > 0 {
      outbox = outbox.dropFirst(count)
      return true
    }
    guard errno != EAGAIN else { return false }
    // No script reads any more: what has arrived is read nevertheless.
    outbox = []
    return true
  }

  private func shutDown() -> Bool {
    sending = .ended
    if isSocket {
      _ = shutdown(output, CInt(SHUT_WR))
    } else {
      _ = Glibc.close(output)
      output = -1
    }
    return true
  }

  private func read() -> Bool {
    guard input >= 0, !hasEnded, !hasStoppedReading else { return false }
    return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      let count =
        isSocket
        ? recv(input, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT))
        : Glibc.read(input, buffer.baseAddress, buffer.count)
      if count > 0 {
        inbox += buffer.prefix(count)
        return true
      }
      if count < 0, errno == EAGAIN { return false }
      hasEnded = true
      isBroken = count < 0
      return true
    }
  }

  /// Closes everything; what was not written is lost.
  func close() {
    if input >= 0 { _ = Glibc.close(input) }
    if output >= 0, output != input { _ = Glibc.close(output) }
    (input, output) = (-1, -1)
    outbox = []
    hasEnded = true
  }

  /// Shuts one half of a socket down, or both, and keeps it open.
  func shutDown(_ how: some BinaryInteger) {
    if isSocket, input >= 0 { _ = shutdown(input, CInt(how)) }
  }

  /// Closes a TCP connection with a reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(input, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    close()
  }
}
