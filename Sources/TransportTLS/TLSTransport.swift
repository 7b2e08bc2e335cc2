// TLSTransport: the network functions that GnuTLS calls.
//
// The library's own functions wait on a blocking socket. These do not: each call has MSG_DONTWAIT, and MSG_NOSIGNAL if
// it sends, so O_NONBLOCK of the description has no effect. A failed call must return -1, set errno, and store that
// errno for the library. The library continues only after EAGAIN.

import CGnuTLS
import Glibc
import Transport

extension GnuTLSStream {
  /// Connects the session to the stream; the session must not outlive it.
  func connectTransport() {
    gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    watchHandshake()
    gnutls_transport_set_pull_function(session) { context, buffer, count in
      guard let context else { return -1 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      return stream.pull(UnsafeMutableRawBufferPointer(start: buffer, count: count))
    }
    gnutls_transport_set_vec_push_function(session) { context, vector, count in
      guard let context, let vector else { return -1 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      // giovec_t has the same layout as iovec.
      return vector.withMemoryRebound(to: iovec.self, capacity: Int(count)) {
        stream.push(UnsafeMutableBufferPointer(start: UnsafeMutablePointer(mutating: $0), count: Int(count)))
      }
    }
  }

  /// The end of file is not reported to the library, see `inputHasEnded`.
  private func pull(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard pullsLeft > 0 else { return answer(SystemError("recv", EAGAIN)) }
    pullsLeft -= 1
    do {
      let count =
        separate?.readsSocket == false
        ? try separate?.pull(buffer) ?? 0
        : try Kernel.recv(descriptor, buffer, CInt(MSG_DONTWAIT))
      meter.received(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      guard count == 0, buffer.count > 0 else { return count }
      inputHasEnded = true
      return answer(SystemError("recv", EAGAIN))
    } catch {
      return answer(error)
    }
  }

  private func push(_ vector: UnsafeMutableBufferPointer<iovec>) -> Int {
    do {
      if separate?.writesSocket == false { return try separate?.push(vector) ?? 0 }
      return try Kernel.sendmsg(outputDescriptor, vector, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    } catch {
      return answer(error)
    }
  }

  private func answer(_ error: SystemError) -> Int {
    if error.code != EAGAIN { socketError = error }
    gnutls_transport_set_errno(session, error.code)
    errno = error.code
    return -1
  }
}
