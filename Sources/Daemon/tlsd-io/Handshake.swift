// Handshake: from the first octet to the report, within one timeout.
//
// Failure: the client gets an alert; the server program sees its channels end without an octet.

import CKernel
import Glibc
import Transport
import TransportTLS

enum Handshake {
  /// The default timeout: a client needs two round trips.
  static let defaultMilliseconds = 30_000

  /// Performs the handshake.
  ///
  /// - Parameter milliseconds: the timeout; 0: none.
  static func perform(
    _ stream: GnuTLSStream, for program: borrowing ProgramSide, within milliseconds: Int
  ) throws(Failure) {
    let deadline = milliseconds == 0 ? nil : Clock.now() + milliseconds
    var departure = Departure(of: program)
    while true {
      switch stream.handshake() {
      case .established: return
      case .failed(let reason): throw Failure(.tls, reason)
      case .wouldBlock: break
      }
      guard try wait(stream, &departure, until: deadline) else {
        // Nothing is established yet, so no close_notify has to be sent.
        _ = stream.endSending()
        let why = departure.isOver ? "the server program is gone" : "timed out after \(milliseconds) ms"
        throw Failure(.tls, "TLS handshake: \(why)")
      }
    }
  }

  /// Waits for what the handshake waits for; false if the time has expired or the server program is gone.
  private static func wait(
    _ stream: GnuTLSStream, _ departure: inout Departure, until deadline: Int?
  ) throws(Failure) -> Bool {
    let (number, events) =
      stream.direction == .read ? (stream.descriptor, POLLIN) : (stream.outputDescriptor, POLLOUT)
    do throws(SystemError) {
      while true {
        var entries = [pollfd(fd: number, events: CShort(events), revents: 0), departure.entry]
        guard try Waiting.wait(&entries, until: deadline) else { return false }
        if entries[0].revents != 0 { return true }
        try departure.notice()
        if departure.isOver { return false }
      }
    } catch {
      throw Failure("handshake", error)
    }
  }

  /// The negotiated parameters as environment variables, see `UCSPIEnvironment`.
  static func report(_ stream: GnuTLSStream) -> UCSPIEnvironment {
    let certificate = stream.clientCertificate
    var environment = UCSPIEnvironment()
    environment.append("SSL_PROTOCOL", stream.facts.version)
    environment.append("SSL_CIPHER", stream.facts.cipher)
    environment.append("SSL_TLS_SNI_SERVERNAME", stream.facts.serverName)
    environment.append("SSL_PEER_CERT_HASH", certificate.map { "SHA256:\($0.fingerprint)" })
    environment.append("SSL_PEER_CERT_SUBJECT", certificate?.subject)
    return environment
  }
}
