// FailingTLSStream: a placeholder that always fails. It is used when no TLS engine is available at handoff, so that the
// session closes as after a failed handshake.

import Glibc

package final class FailingTLSStream: TLSStream {
  package init() {}

  package var descriptor: CInt { -1 }
  package var direction: TLSDirection { .read }
  package var hasPending: Bool { false }
  package var facts: TLSFacts { TLSFacts(version: "", cipher: "") }

  package func handshake() -> TLSHandshake { .failed("there is no TLS layer") }
  package func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
  package func write(_ octets: UnsafeRawBufferPointer) -> IOResult { .failed(SystemError("write", EPIPE)) }
  package func endSending() -> Bool { true }
  package func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
}
