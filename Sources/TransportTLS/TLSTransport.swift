// TLSTransport: the network functions that GnuTLS calls.
//
// The library's own functions wait on a blocking socket. These do not: each call has MSG_DONTWAIT, and MSG_NOSIGNAL if
// it sends, so O_NONBLOCK of the description has no effect. A failed call must return -1, set errno, and store that
// errno for the library. The library continues only after EAGAIN.
//
// The library requests the header of a record and then its body. More than a header is received at once, and what the
// library has not requested yet is kept here, see `hasPending`. The socket belongs to this session until its end, so the
// octets belong to nobody else; at the end they are discarded, as those in the kernel are. When a call returns and waits
// for input, none is kept.

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
    pullsLeft -= 1
    if ahead.isEmpty {
      guard pullsLeft >= 0, !isDrained else { return answer(SystemError("recv", EAGAIN)) }
      if buffer.count >= TLSLimits.readAhead { return receive(buffer) }
      var failure = 0
      let moved = ahead.fill { octets in
        let count = fetch(octets)
        if count < 0 { failure = count }
        return .moved(max(0, count))
      }
      if moved == .moved(0) { return failure }
    }
    var taken = 0
    _ = ahead.drain { octets in
      taken = min(octets.count, buffer.count)
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: octets.prefix(taken)))
      return .moved(taken)
    }
    meter.received(UnsafeRawBufferPointer(rebasing: buffer[..<taken]))
    return taken
  }

  /// Receives directly what the library has requested.
  private func receive(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = fetch(buffer)
    if count > 0 { meter.received(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
    return count
  }

  /// Receives once: the number of octets, or -1 as for the library.
  private func fetch(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
    do {
      let count =
        separate?.readsSocket == false
        ? try separate?.pull(buffer) ?? 0
        : try Kernel.recv(descriptor, buffer, CInt(MSG_DONTWAIT))
      // Whatever arrives from now on is reported by poll.
      isDrained = count < buffer.count
      guard count == 0, buffer.count > 0 else { return count }
      inputHasEnded = true
      return answer(SystemError("recv", EAGAIN))
    } catch {
      return answer(error)
    }
  }

  /// A call of the session begins: the library may request octets again.
  func beginPulling() {
    pullsLeft = TLSLimits.pulls
    stopsLeft = TLSLimits.readAhead / 5
    isDrained = false
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
