// StatusCommand: `starttlsd status`: asks a running daemon for its state and prints it.
//
// With several workers each has a socket of its own, PATH.1 and so on: the state of each is printed.
//
// The process that answers reads what strangers send, so its text is not trusted: it has a limit of size and of time, and nothing but
// lines of printable ASCII gets to the terminal.

import ArgumentParser
import CKernel
import Glibc
import ProgramSupport
import Transport

/// `starttlsd status [--json] path`
struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttlsd status", abstract: "Prints the sessions, totals and certificates of a running starttlsd.")

  @Flag(help: "Print one JSON object.")
  var json = false

  @Argument(help: "The path that the daemon has as --status-socket.")
  var path: String

  /// For a whole report. The daemon answers at once; it may be stopped, or not be starttlsd.
  private static let timeoutMilliseconds = 10_000
  /// The most octets of a report. One with all sessions and certificates that are listed has less.
  private static let limit = 16 << 20

  func run() throws {
    var failure: ConfigurationError?
    for (index, path) in paths.enumerated() {
      if index > 0, !json { _ = StandardStreams.print("\n") }
      do throws(ConfigurationError) {
        try ask(path)
      } catch {
        if let failure { StandardStreams.complain("starttlsd", failure.description) }
        failure = error
      }
    }
    if let failure { throw failure }
  }

  /// The status sockets of a listener: of a worker among several the path ends with its number.
  static func paths(_ path: String, workers: Int) -> [String] { workers > 1 ? (1...workers).map { "\(path).\($0)" } : [path] }

  /// The path, or those of the workers.
  private var paths: [String] {
    if isListening(path) { return [path] }
    let workers = StatusCommand.paths(path, workers: WorkerCount.limit).filter { isListening($0) }
    return workers.isEmpty ? [path] : workers
  }

  /// False for a file that is missing, or that is left of a process that was killed.
  private func isListening(_ path: String) -> Bool {
    do throws(SystemError) {
      _ = try SocketAddress.unix(path).connect()
      return true
    } catch {
      return error.code != ENOENT && error.code != ECONNREFUSED
    }
  }

  private func ask(_ path: String) throws(ConfigurationError) {
    do {
      let socket = try SocketAddress.unix(path).connect()
      let octets = Array((json ? "json\n" : "text\n").utf8)
      guard case .moved(octets.count) = octets.withUnsafeBytes({ socket.send($0) }) else {
        throw SystemError("send", EPIPE)
      }
      guard try StatusCommand.print(socket) > 0 else { throw SystemError("recv", ENODATA) }
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw ConfigurationError.system(
        "no starttlsd answers at \(path): \(error): give the path of --status-socket, as the daemon's user or root")
    }
  }

  /// Prints everything that the daemon sends.
  ///
  /// - Returns: the number of octets.
  /// - Throws: a SystemError of the daemon's socket, or a ConfigurationError if standard output cannot be written.
  private static func print(_ socket: borrowing Descriptor) throws -> Int {
    let deadline = Clock.now() + timeoutMilliseconds
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var total = 0
    while true {
      var entry = pollfd(fd: socket.number, events: CShort(POLLIN), revents: 0)
      guard poll(&entry, 1, CInt(clamping: max(0, deadline - Clock.now()))) == 1 else { throw SystemError("recv", ETIMEDOUT) }
      let count = recv(socket.number, &buffer, buffer.count, 0)
      if count < 0 { throw SystemError.last("recv") }
      if count == 0 { return total }
      total += count
      guard total <= limit else { throw SystemError("recv", EMSGSIZE) }
      do {
        try StandardStreams.write(printable(buffer[..<count]))
      } catch {
        throw ConfigurationError.system("the report cannot be printed: \(error)")
      }
    }
  }

  /// Line ends as they are, and everything else as in the log.
  private static func printable(_ octets: ArraySlice<UInt8>) -> String {
    var text: [UInt8] = []
    for (index, line) in octets.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
      if index > 0 { text.append(0x0A) }
      EscapedText.append(line, to: &text)
    }
    return String(decoding: text, as: UTF8.self)
  }
}
