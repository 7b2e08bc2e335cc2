// SystemLog: sends lines to the system's log, as datagrams to /dev/log.
//
// The format is that of RFC 3164, as syslog(3) writes it: `<22>Mmm dd hh:mm:ss program[process]: text`. 22 is facility
// mail, severity informational. The socket is used as standard error, so that executed programs inherit it: our
// programs recognise it; text of other programs is sent as one datagram per write. The socket is non-blocking, because
// a log that is not read must not stop the mail: lines are lost instead.

import CKernel
import Glibc
import Transport

/// The system's log in place of standard error.
package enum SystemLog {
  /// The log's socket.
  package static var path: String { "/dev/log" }
  /// Facility mail (2), severity informational (6).
  private static var priority: Int { 2 << 3 | 6 }

  /// True if standard error is such a socket.
  package static var isStandardError: Bool {
    (try? Kernel.option(STDERR_FILENO, SOL_SOCKET, SO_TYPE)) == CInt(SOCK_DGRAM.rawValue)
      && (try? Kernel.option(STDERR_FILENO, SOL_SOCKET, SO_DOMAIN)) == AF_UNIX
  }

  /// Sends one line to standard error, which is such a socket.
  static func write(_ program: String, _ text: String) {
    var line = Array("<\(priority)>\(time)\(program)[\(getpid())]: ".utf8)
    EscapedText.append(text.utf8, to: &line)
    _ = line.withUnsafeBytes { try? Kernel.send(STDERR_FILENO, $0, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) }
  }

  /// The local time in the format of RFC 3164, 4.1.2, and a space.
  private static var time: String {
    var seconds = Glibc.time(nil)
    var parts = tm()
    localtime_r(&seconds, &parts)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { text in
      strftime(text.baseAddress!, text.count, "%b %e %H:%M:%S ", &parts) > 0 ? String(cString: text.baseAddress!) : ""
    }
  }
}
