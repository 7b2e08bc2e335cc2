// TLSTransport: how GnuTLS reaches the socket.
//
// The library's own functions wait on a blocking socket. These do not: each call carries MSG_DONTWAIT, and MSG_NOSIGNAL
// where it sends, so that O_NONBLOCK of the description plays no part. When a call fails the library wants -1, errno
// and a note of that errno for itself; EAGAIN is the only one that it goes on after.

import CGnuTLS
import Glibc
import Transport

extension GnuTLSStream {
  /// Connects the session to the stream, which it must not outlive.
  func connectTransport() {
    gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    gnutls_transport_set_pull_function(session) { context, buffer, count in
      guard let context else { return -1 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      return stream.pull(UnsafeMutableRawBufferPointer(start: buffer, count: count))
    }
    gnutls_transport_set_vec_push_function(session) { context, vector, count in
      guard let context, let vector else { return -1 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      // giovec_t is iovec under another name.
      return vector.withMemoryRebound(to: iovec.self, capacity: Int(count)) {
        stream.push(UnsafeMutableBufferPointer(start: UnsafeMutablePointer(mutating: $0), count: Int(count)))
      }
    }
  }

  /// 0 is the end of file.
  private func pull(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    do {
      return try Kernel.recv(descriptor, buffer, CInt(MSG_DONTWAIT))
    } catch {
      return answer(error)
    }
  }

  private func push(_ vector: UnsafeMutableBufferPointer<iovec>) -> Int {
    do {
      return try Kernel.sendmsg(descriptor, vector, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
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
