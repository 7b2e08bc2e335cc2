// StandardStreams: the three descriptors that every program gets at its start.
//
// Standard error is the log of this program and of the programs that it starts, unless it is the client's connection:
// inetd, xinetd and systemd (StandardInput=socket) make the client's socket 0, 1 and 2. A line written there would go
// to the client, in clear even inside TLS. `prepare` detects that and replaces descriptor 2:
//
// - with a datagram socket to the system's log, /dev/log, if that exists;
// - otherwise with /dev/null, and the lines are lost.
//
// Executed programs inherit it; our programs detect its kind, see SystemLog.
//
// Order: `prepare` before anything is opened or written, then the command line, then, with a client, `check`.

import Glibc
public import Transport

/// Standard input, output and error, with the rules that all programs share.
public enum StandardStreams {
  /// The purpose of 0 and 1.
  public enum Purpose: Hashable, Sendable {
    /// They are the connection of one client.
    case connection
    /// They are not a client's. 0 may be a listening socket; 1 and 2 may be one socket to the system's log.
    case daemon
  }

  /// Makes sure that 2 is open and is not the client's socket; for a daemon also that 0 and 1 are open. Call it before
  /// anything else.
  ///
  /// - Throws: the error that prevented the replacement of a descriptor; then nothing may be written to standard error.
  public static func prepare(for purpose: Purpose) throws(SystemError) {
    if purpose == .daemon {
      for number in [STDIN_FILENO, STDOUT_FILENO] where !isOpen(number) { try standIn(number) }
    }
    if !isOpen(STDERR_FILENO) {
      try standIn(STDERR_FILENO)
    } else if isErrors(S_IFSOCK, STDIN_FILENO) || purpose == .connection && isErrors(S_IFSOCK, STDOUT_FILENO) {
      try replaceErrors()
    }
  }

  /// Makes sure that 0 and 1 are a client's connection, and that 2 is not one of its two pipes. Call it before anything
  /// else is opened, or a channel would get one of these numbers. A pipe is checked only here: with `2>&1 | less` the
  /// operator must see errors in the command line.
  ///
  /// - Throws: EBADF of fcntl if standard input or output is closed.
  public static func check() throws(SystemError) {
    _ = try Kernel.control(STDIN_FILENO, F_GETFD)
    _ = try Kernel.control(STDOUT_FILENO, F_GETFD)
    if isErrors(S_IFIFO, STDIN_FILENO) || isErrors(S_IFIFO, STDOUT_FILENO) { try replaceErrors() }
  }

  /// Writes one line, `program: text`, to standard error in one call. Control characters and octets above 0x7E become
  /// `\xNN`. A line that cannot be written is lost, because there is no other place to report it.
  public static func complain(_ program: String, _ text: String) {
    if SystemLog.isStandardError { return SystemLog.write(program, text) }
    var line = Array("\(program): ".utf8)
    EscapedText.append(text.utf8, to: &line)
    line.append(UInt8(ascii: "\n"))
    // A pipe without a reader, or a file that may not grow, must not end the program, and with it a session.
    let (pipe, size) = (signal(SIGPIPE, SIG_IGN), signal(SIGXFSZ, SIG_IGN))
    _ = line.withUnsafeBytes { try? Kernel.write(STDERR_FILENO, $0) }
    signal(SIGPIPE, pipe)
    signal(SIGXFSZ, size)
  }

  /// Writes a text to standard output, for `--help` and `--version`.
  ///
  /// - Returns: true if the whole text was written.
  public static func print(_ text: String) -> Bool { (try? write(text)) != nil }

  /// Writes a whole text to standard output.
  ///
  /// - Throws: the error of write(2).
  public static func write(_ text: String) throws(SystemError) {
    let octets = Array(text.utf8)
    try octets.span.withUnsafeBytes { (all) throws(SystemError) in
      var written = 0
      while written < all.count { written += try Kernel.write(STDOUT_FILENO, UnsafeRawBufferPointer(rebasing: all[written...])) }
    }
  }
}

// MARK: - What is open where

extension StandardStreams {
  private static func isOpen(_ number: CInt) -> Bool {
    (try? Kernel.control(number, F_GETFD)) != nil
  }

  /// True if 2 has this kind and is the same socket or pipe as `number`. Sockets and pipes are identified by an inode
  /// of the kernel's own file systems. A terminal or a file on all three descriptors belongs to an operator, not to a
  /// client.
  private static func isErrors(_ kind: mode_t, _ number: CInt) -> Bool {
    guard let errors = try? Kernel.status(STDERR_FILENO), errors.st_mode & S_IFMT == kind,
      let other = try? Kernel.status(number)
    else { return false }
    return other.st_dev == errors.st_dev && other.st_ino == errors.st_ino
  }

  private static func replaceErrors() throws(SystemError) {
    let log = try DatagramSocket.create()
    let isConnected = (try? DatagramSocket.connect(log, to: SystemLog.path)) != nil
    if !isConnected, let null = try? Kernel.open("/dev/null", O_RDWR) {
      return try put(Descriptor(adopting: null), at: STDERR_FILENO)
    }
    // In a bare chroot /dev/null is missing too. Text written to a socket that is not connected is lost as well.
    try put(log, at: STDERR_FILENO)
  }

  /// Opens /dev/null with this number. It stays open across an exec, like a regular standard stream.
  private static func standIn(_ number: CInt) throws(SystemError) {
    let null = try Kernel.open("/dev/null", O_RDWR)
    try put(Descriptor(adopting: null), at: number)
  }

  /// Makes `number` a duplicate of the descriptor, not close-on-exec.
  private static func put(_ descriptor: consuming Descriptor, at number: CInt) throws(SystemError) {
    guard descriptor.number == number else {
      if dup2(descriptor.number, number) < 0 { throw SystemError.last("dup2") }
      return
    }
    // The descriptor already had this number, the lowest free one.
    try descriptor.setCloseOnExec(false)
    _ = descriptor.release()
  }
}
