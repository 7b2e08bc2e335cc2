// NoStream: a TLS stream that there is none of. It stands in where a handoff comes to nothing, so that the session
// closes as behind a failed handshake.

import Glibc
import Transport

final class NoStream: TLSStream {
  var descriptor: CInt { -1 }
  var direction: TLSDirection { .read }
  var hasPending: Bool { false }
  var facts: TLSFacts { TLSFacts(version: "", cipher: "") }

  func handshake() -> TLSHandshake { .failed("there is no TLS layer") }
  func read(into buffer: UnsafeMutableRawBufferPointer) -> Transfer { .ended }
  func write(_ octets: UnsafeRawBufferPointer) -> Transfer { .failed(SystemError("write", EPIPE)) }
  func endSending() {}
  func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> Transfer { .ended }
}
