// FailingTLSStream: a placeholder that always fails. A host returns it at handoff if it has no TLS engine after all, so
// that the session closes as after a failed handshake.

import Glibc

/// A TLS layer whose handshake fails at once: for a host that has none at handoff. The session then closes without text.
public final class FailingTLSStream: TLSStream {
  /// Creates a stream without a descriptor.
  public init() {}

  /// -1: there is nothing to poll.
  public var descriptor: CInt { -1 }
  /// Always `.read`.
  public var direction: TLSDirection { .read }
  /// Always false.
  public var hasPending: Bool { false }
  /// No version and no cipher.
  public var facts: TLSFacts { TLSFacts(version: "", cipher: "") }

  /// Always fails.
  public func handshake() -> TLSHandshake { .failed("there is no TLS layer") }
  /// Always at its end.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
  /// Always fails with EPIPE.
  public func write(_ octets: UnsafeRawBufferPointer) -> IOResult { .failed(SystemError("write", EPIPE)) }
  /// Nothing is to be ended.
  public func endSending() -> Bool { true }
  /// Always at its end.
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .ended }
}
