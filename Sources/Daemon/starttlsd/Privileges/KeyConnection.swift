// KeyConnection: the connection to the process that holds the private keys.
//
// A signature is made within a call of the TLS library, so starttlsd waits for it, at most `limitMilliseconds`. One
// request is pending at a time: nothing can pile up. If the process does not answer in time, that handshake fails, and
// STARTTLS is refused with 454 until the answer has come: the event loop waits once, not once for each client. If the process
// has ended, starttlsd stops, as without any other of its processes.

import CKernel
import Glibc
import Logging
import Transport
import TransportTLS

final class KeyConnection: EventOwner {
  static let limitMilliseconds = 3_000
  private static let name = "starttlsd-key, which holds the private keys,"

  private let process: ForkedProcess
  private unowned var daemon: Daemon?
  private var watch: Watch?
  /// The number of the last request, and how many have no answer yet: none or one, or one that came too late.
  private var last: UInt32 = 0
  private var isLate = false
  private(set) var hasEnded = false
  /// True if the process can make few system calls; false if the kernel cannot restrict it.
  private(set) var isConfined = false
  /// What signs with RSA keys.
  private(set) var rsa = RSALibrary.gnutls
  /// True if libcrypto makes wrong signatures with a key, so that GnuTLS signs with it.
  private(set) var isLibcryptoWrong = false
  /// What it has signed, and how much of it by libcrypto.
  private(set) var signatures = EventCount()
  private var signaturesByLibcrypto = 0

  /// Waits until the process is ready.
  init(_ process: consuming ForkedProcess) throws(SystemError) {
    self.process = process
    guard let message = receive(until: Clock.now() + 10 * KeyConnection.limitMilliseconds), message.kind == KeyProcess.ready else {
      throw SystemError("starttlsd-key", ECHILD)
    }
    isConfined = message.first == 1
    rsa = RSALibrary(message)
  }

  /// For the status.
  func report(now: Int) -> StatusReport.Keys {
    StatusReport.Keys(
      process: process.process, isAvailable: isAvailable, isConfined: isConfined, rsa: rsa, signaturesByLibcrypto: signaturesByLibcrypto, signatures: signatures.total,
      signaturesInLastMinute: signatures.lastMinute(now: now))
  }

  /// True if a handshake can be expected to succeed.
  var isAvailable: Bool { !hasEnded && !isLate }

  /// Has the process sign, and waits.
  ///
  /// - Parameters:
  ///   - generation: of the set of files.
  ///   - index: of the file in the set.
  /// - Returns: nil if there is no signature: the handshake fails.
  func sign(_ request: SignatureRequest, generation: Int32, index: Int32) -> [UInt8]? {
    guard isAvailable, let payload = request.payload else { return nil }
    last &+= 1
    let message = HelperMessage(KeyProcess.sign, number: last, first: generation, second: index, payload: payload)
    do {
      try process.socket.send(message.octets ?? [])
    } catch {
      // Its end is reported to the event loop. Any other failure, such as a lack of memory, is that of this handshake.
      hasEnded = error.code == EPIPE || error.code == ECONNRESET
      return nil
    }
    let limit = Clock.now() + KeyConnection.limitMilliseconds
    while let answer = receive(until: limit) {
      guard answer.number == last else { continue }
      signatures.add(now: Clock.now())
      if answer.kind == KeyProcess.signed {
        note(KeyProcess.Signer(rawValue: answer.first))
        return answer.payload
      }
      // Limited in number: clients choose the algorithm, and may choose one that the key is too small for.
      daemon?.tlsWarning.note("\(KeyConnection.name) cannot sign: error \(answer.first) of GnuTLS", now: Clock.now())
      return nil
    }
    if !hasEnded {
      isLate = true
      daemon?.log.critical("\(KeyConnection.name) does not answer: STARTTLS is refused with 454 until it does")
    }
    return nil
  }

  private func note(_ signer: KeyProcess.Signer?) {
    switch signer {
    case .libcrypto: signaturesByLibcrypto += 1
    case .replacement where !isLibcryptoWrong:
      isLibcryptoWrong = true
      // At the start nobody listens yet: see warnOfKeyProcess.
      daemon?.warnOfWrongSignatures()
    default: break
    }
  }

  /// No certificate of this generation is in use any more.
  func release(_ generation: Int32) {
    guard !hasEnded else { return }
    // Without room for the message the keys stay until too many newer ones have come.
    try? process.socket.send(HelperMessage(KeyProcess.release, first: generation).octets ?? [])
  }

  /// The next message; nil after that time, or if the process has ended.
  private func receive(until limit: Int) -> HelperMessage? {
    while true {
      // An answer takes longer than a call: wait before the first one.
      let rest = limit - Clock.now()
      if rest > 0 {
        var entry = pollfd(fd: process.socket.descriptor.number, events: CShort(POLLIN), revents: 0)
        _ = poll(&entry, 1, CInt(rest))
      }
      switch process.socket.receive(limit: HelperMessage.limit) {
      case .message(let message):
        if let known = HelperMessage(message.octets) { return known }
        hasEnded = true
        return nil
      case .ended:
        hasEnded = true
        return nil
      case .nothing:
        guard Clock.now() < limit else { return nil }
      }
    }
  }

  // MARK: The event loop

  func attach(_ daemon: Daemon) throws(SystemError) {
    self.daemon = daemon
    let wanted = Watch(descriptor: process.socket.descriptor.number, events: CShort(POLLIN))
    try daemon.loop.update(nil, to: wanted, for: self)
    watch = wanted
  }

  /// An answer that was late, or the end of the process.
  func ready(now: Int) {
    guard watch != nil else { return }
    while !hasEnded, receive(until: now) != nil {
      if isLate { daemon?.log.notice("\(KeyConnection.name) answers again") }
      isLate = false
    }
    if hasEnded { end() }
  }

  private func end() {
    if let watch { daemon?.loop.remove(watch.descriptor) }
    watch = nil
    daemon?.lost(KeyConnection.name, process.howItEnded())
  }

  /// The order to end, at the end of starttlsd.
  func finish() {
    if let watch { daemon?.loop.remove(watch.descriptor) }
    watch = nil
    hasEnded = true
    _ = process.end(within: 1_000)
  }
}

/// The keys that were read together. The other process forgets them at the end of this value.
final class KeyGeneration {
  private let connection: KeyConnection
  private let number: Int32

  init(_ connection: KeyConnection, _ number: Int32) {
    self.connection = connection
    self.number = number
  }

  deinit { connection.release(number) }

  func sign(_ request: SignatureRequest, index: Int32) -> [UInt8]? {
    connection.sign(request, generation: number, index: index)
  }
}
