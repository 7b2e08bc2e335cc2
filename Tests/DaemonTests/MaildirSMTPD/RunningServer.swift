// RunningServer: the built maildir-smtpd as a child, and its client.
//
// Every wait has a limit, after which the test fails; the child is killed and reaped, and the folder removed, when the
// value ends. The child's standard error goes to a file.

import CKernel
import Foundation
import Glibc
import XCTest

/// A folder that is removed with everything in it.
final class TemporaryFolder {
  let path: String

  init() {
    var template = Array("/tmp/maildir-smtpd-test-XXXXXX".utf8CString)
    mkdtemp(&template)
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  func names(in folder: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: path + "/" + folder)) ?? []
  }

  func contents(_ file: String) -> [UInt8] {
    FileManager.default.contents(atPath: path + "/" + file).map(Array.init) ?? []
  }
}

/// One session with the real program.
final class RunningServer {
  /// What the program's standard input and output are.
  enum Kind {
    case socketPair, pipes
    /// In raw mode, as `stty raw -echo` leaves it.
    case terminal
  }

  /// How the program ended.
  enum End: Hashable {
    case exited(CInt)
    case killed(CInt)
    case stillRunning
  }

  /// The longest wait for anything.
  static let patience: CInt = 20_000

  let folder: TemporaryFolder
  /// nil until the program runs: a number that is no process of ours must never get a signal.
  private var process: pid_t?
  /// The ends that the program got, kept open here to look at their flags.
  private(set) var theirs: (input: CInt, output: CInt)
  private var ours: (reading: CInt, writing: CInt)
  private var received: [UInt8] = []
  private var end: End?

  /// Starts `wrapper... maildir-smtpd --hostname mx.example options... folder/maildir`.
  init(
    _ options: [String] = [], kind: Kind = .socketPair, environment: [String: String] = [:], wrapper: [String] = [],
    maildir: String = "maildir", in folder: TemporaryFolder = TemporaryFolder()
  ) throws {
    self.folder = folder
    Glibc.signal(SIGPIPE, SIG_IGN)
    var ends: [CInt] = [-1, -1, -1, -1]
    switch kind {
    case .socketPair:
      socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends)
      theirs = (ends[1], ends[1])
      ours = (ends[0], ends[0])
    case .pipes:
      ends.withUnsafeMutableBufferPointer {
        _ = kernel_pipe2($0.baseAddress!, O_CLOEXEC)
        _ = kernel_pipe2($0.baseAddress! + 2, O_CLOEXEC)
      }
      theirs = (ends[0], ends[3])
      ours = (ends[2], ends[1])
    case .terminal:
      // posix_openpt, unlockpt and ptsname are hidden from Swift: TIOCSPTLCK and TIOCGPTN are what they do.
      let master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
      var locked: CInt = 0
      var number: CInt = 0
      _ = ioctl(master, 0x4004_5431, &locked)
      _ = ioctl(master, 0x8004_5430, &number)
      let slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
      var mode = termios()
      tcgetattr(slave, &mode)
      cfmakeraw(&mode)
      tcsetattr(slave, TCSANOW, &mode)
      theirs = (slave, slave)
      ours = (master, master)
    }
    let arguments =
      wrapper + [try Programs.path("maildir-smtpd"), "--hostname", "mx.example"] + options
      + [folder.path + "/" + maildir]
    process = try spawn(arguments, environment: environment)
  }

  private func spawn(_ arguments: [String], environment: [String: String]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, theirs.input, 0)
    posix_spawn_file_actions_adddup2(&actions, theirs.output, 1)
    posix_spawn_file_actions_addopen(&actions, 2, folder.path + "/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
    // Coverage data of the child, if the build makes any, goes nowhere.
    let variables = environment.merging(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LLVM_PROFILE_FILE": "/dev/null"]) {
      given, _ in given
    }
    var words = arguments.map { strdup($0) } + [nil]
    var pairs = variables.map { strdup("\($0)=\($1)") } + [nil]
    defer { (words + pairs).forEach { free($0) } }
    var child: pid_t = -1
    let code = posix_spawnp(&child, arguments[0], &actions, nil, &words, &pairs)
    guard code == 0, child > 0 else { throw Failure("\(arguments[0]): \(String(cString: strerror(code)))") }
    return child
  }

  deinit {
    if end == nil, let process {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
    }
    closeClient()
    closeTheirs()
  }
}

// MARK: - The client

extension RunningServer {
  func send(_ text: String) { send(Array(text.utf8)) }

  /// Sends everything, or as much as the program takes.
  func send(_ octets: [UInt8]) {
    var rest = octets[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(ours.writing, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Sends the text again and again, reads nothing, and stops when the program has ended. For socket pairs.
  func flood(_ text: String) {
    let octets = Array(text.utf8)
    for _ in 0..<Int(Self.patience) {
      while Glibc.send(ours.writing, octets, octets.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 {}
      closeTheirs()
      if errno != EAGAIN { return }
      usleep(1000)
    }
    XCTFail("the program still reads; the log: \(log)")
  }

  /// The next whole reply without its last CRLF; what there is at the end of the program's output.
  func reply() -> String {
    while true {
      let lines = received.split(separator: 10, omittingEmptySubsequences: false).dropLast()
      if let last = lines.first(where: { $0.count < 4 || $0[$0.startIndex + 3] != UInt8(ascii: "-") }) {
        let text = String(decoding: received[..<last.endIndex], as: UTF8.self)
        received.removeSubrange(...last.endIndex)
        return text.replacingOccurrences(of: "\r\n", with: "|").trimmingCharacters(in: ["\r"])
      }
      guard receive() else { return String(decoding: received, as: UTF8.self) }
    }
  }

  /// Everything up to the end of the program's output.
  func remainder() -> String {
    // The program's end is seen only when nobody else holds it open.
    closeTheirs()
    while receive() {}
    defer { received = [] }
    return String(decoding: received, as: UTF8.self)
  }

  /// Whether the program has written something, or ended its output, within so many milliseconds.
  func hasOutput(within milliseconds: CInt) -> Bool {
    var entry = pollfd(fd: ours.reading, events: CShort(POLLIN), revents: 0)
    return poll(&entry, 1, milliseconds) == 1
  }

  private func receive() -> Bool {
    guard hasOutput(within: Self.patience) else {
      XCTFail("no octet came; the log: \(log)")
      return false
    }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = read(ours.reading, &buffer, buffer.count)
    guard count > 0 else { return false }
    received += buffer[..<count]
    return true
  }

  /// Ends the client's sending half.
  func finishSending() {
    if ours.reading == ours.writing {
      shutdown(ours.writing, CInt(SHUT_WR))
    } else {
      close(ours.writing)
      ours.writing = -1
    }
  }

  /// The client goes away.
  func closeClient() {
    for number in Set([ours.reading, ours.writing]) where number >= 0 { close(number) }
    ours = (-1, -1)
  }

  func closeTheirs() {
    for number in Set([theirs.input, theirs.output]) where number >= 0 { close(number) }
    theirs = (-1, -1)
  }

  /// Sends a whole message and returns the reply to its end.
  func deliver(_ body: [UInt8], mail: String = "FROM:<a@b>") -> String {
    send("EHLO c.example\r\nMAIL \(mail)\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for _ in 0..<3 { _ = reply() }
    let go = reply()
    guard go.hasPrefix("354") else { return go }
    send(body + Array(".\r\n".utf8))
    return reply()
  }
}

// MARK: - The program

extension RunningServer {
  var log: String { String(decoding: folder.contents("log"), as: UTF8.self) }

  func signal(_ number: CInt) {
    guard let process, end == nil else { return XCTFail("the program does not run") }
    kill(process, number)
  }

  /// Waits until the program has ended.
  func wait() -> End {
    if let end { return end }
    guard let process else { return .stillRunning }
    for _ in 0..<Int(Self.patience) {
      var status: CInt = 0
      if waitpid(process, &status, WNOHANG) == process {
        let end: End =
          kernel_WIFEXITED(status) ? .exited(kernel_WEXITSTATUS(status)) : .killed(kernel_WTERMSIG(status))
        self.end = end
        return end
      }
      usleep(1000)
    }
    XCTFail("the program does not end; the log: \(log)")
    return .stillRunning
  }

  /// The messages in `new`, without the header lines that the program added.
  var delivered: [[UInt8]] {
    folder.names(in: "maildir/new").map { name in
      let whole = folder.contents("maildir/new/" + name)
      // Return-Path, Delivered-To, and the three lines of Received.
      let lines = whole.split(separator: 10, maxSplits: 5, omittingEmptySubsequences: false)
      return lines.count == 6 ? Array(lines[5]) : whole
    }
  }
}
