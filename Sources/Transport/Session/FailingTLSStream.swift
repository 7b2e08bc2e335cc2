// FailingTLSStream: a placeholder that always fails. It is used when no TLS engine is available at handoff, so that the
// session closes as after a failed handshake.

import Glibc

public final class FailingTLSStream: TLSStream {
  public init() {}

  public var descriptor: CInt { -1 }
  public var direction: TLSDirection { .read }
  public var hasPending: Bool { false }
  public var facts: TLSFacts { TLSFacts(version: "", cipher: "") }

  public func handshake() -> TLSHandshake { .failed("there is no TLS layer") }
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
  public func write(_ octets: UnsafeRawBufferPointer) -> IOResult { .failed(SystemError("write", EPIPE)) }
  public func endSending() -> Bool { true }
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
}
