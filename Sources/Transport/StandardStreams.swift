// StandardStreams: the three descriptors that every program is started with.

import Glibc

/// Standard input, output and error, as the small programs treat them.
public enum StandardStreams {
  /// Makes sure that 0, 1 and 2 are open before anything else is opened, or a channel would get one of these numbers. A
  /// missing standard error becomes /dev/null.
  ///
  /// - Throws: EBADF of fcntl when standard input or output is closed.
  public static func check() throws(SystemError) {
    _ = try Kernel.control(STDIN_FILENO, F_GETFD)
    _ = try Kernel.control(STDOUT_FILENO, F_GETFD)
    // The lowest free number is that of standard error.
    if (try? Kernel.control(STDERR_FILENO, F_GETFD)) == nil { _ = try Kernel.open("/dev/null", O_WRONLY) }
  }

  /// Writes one line, `program: text`, to standard error in one call. Controls and octets above 0x7E become
  /// `\xNN`. A line that cannot be written is lost: there is nobody left to tell.
  public static func complain(_ program: String, _ text: String) {
    var line = Array("\(program): ".utf8)
    EscapedText.append(text.utf8, to: &line)
    line.append(UInt8(ascii: "\n"))
    _ = line.withUnsafeBytes { try? Kernel.write(STDERR_FILENO, $0) }
  }

  /// Writes a text to standard output, for `--help` and `--version`.
  ///
  /// - Returns: whether all of it was written.
  public static func print(_ text: String) -> Bool {
    let octets = Array(text.utf8)
    return octets.withUnsafeBytes { try? Kernel.write(STDOUT_FILENO, $0) } == octets.count
  }
}
