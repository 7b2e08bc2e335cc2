// KeyLog: the secrets of sessions in a file, in the format of NSS, for a person who looks at captured packets.
//
// GnuTLS writes such a file by itself if the environment has SSLKEYLOGFILE. Whoever sets a variable of a server would get
// the secrets of its sessions. So every session of this module has a function of its own in place of GnuTLS's, and that
// writes only if an option of a program names a file.

import CGnuTLS
import Glibc
package import Transport

/// Why a file does not get the secrets.
package enum KeyLogError: Error, CustomStringConvertible {
  /// It cannot be opened.
  case unwritable(SystemError)
  /// It is no regular file, or users other than this one own it or may use it.
  case exposed

  package var description: String {
    switch self {
    case .unwritable(let error): "\(error)"
    case .exposed: "not a regular file that only this user owns and may use: chmod 600, or name a new file"
    }
  }
}

/// A file that the secrets of sessions are appended to.
package final class KeyLog {
  private let file: Descriptor

  /// Opens or creates it, for its owner only. A file that exists must be one for its owner only.
  package init(_ path: String) throws(KeyLogError) {
    let isPrivate: Bool
    do throws(SystemError) {
      file = Descriptor(adopting: try Kernel.open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, mode: 0o600))
      let status = try Kernel.status(file.number)
      // A regular file (S_IFREG).
      isPrivate = status.st_mode & 0o170000 == 0o100000 && status.st_uid == geteuid() && status.st_mode & 0o077 == 0
    } catch {
      throw .unwritable(error)
    }
    guard isPrivate else { throw .exposed }
  }

  /// One line: the label, the client's random octets, the secret.
  fileprivate func append(_ label: String, _ random: UnsafeBufferPointer<UInt8>, _ secret: UnsafeBufferPointer<UInt8>) {
    var line = Array(label.utf8)
    for octets in [random, secret] {
      line.append(UInt8(ascii: " "))
      let digits = Array("0123456789abcdef".utf8)
      for octet in octets { line += [digits[Int(octet >> 4)], digits[Int(octet & 15)]] }
    }
    line.append(UInt8(ascii: "\n"))
    // A line that the file does not take is missing: the session does not depend on it.
    _ = try? line.withUnsafeBytes { (octets) throws(SystemError) in try Kernel.write(file.number, octets) }
  }
}

extension GnuTLSStream {
  /// Replaces the library's function, which obeys SSLKEYLOGFILE.
  static func replaceKeyLog(_ session: gnutls_session_t) {
    gnutls_session_set_keylog_function(session) { session, label, secret in
      guard let session, let label, let secret = secret?.pointee, let context = gnutls_transport_get_ptr(session) else { return 0 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      guard let log = stream.keyLog else { return 0 }
      var client = gnutls_datum_t()
      var server = gnutls_datum_t()
      gnutls_session_get_random(session, &client, &server)
      log.append(
        String(cString: label), UnsafeBufferPointer(start: client.data, count: Int(client.size)),
        UnsafeBufferPointer(start: secret.data, count: Int(secret.size)))
      return 0
    }
  }
}
