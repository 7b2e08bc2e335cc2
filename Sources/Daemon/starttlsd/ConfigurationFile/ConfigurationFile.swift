// ConfigurationFile: a file of settings: keys that count for all listeners, and a table for each listener.
//
//   policy = "opportunistic"
//   [listener.mx]
//   listen = ["0.0.0.0:25", "[::]:25"]
//
// A key is the long name of an option. A listener's own key replaces that of all. The result is one command line for each
// listener, which is checked as a command line is.
//
// The file names programs that root starts, and root's files: it is refused if another user than root, or than the one who
// starts starttlsd, can write to it or to a folder above it. It is read before any privilege is given up.
//
// Failure: faults with the file and the line. A file with one fault is not used at all.

import Glibc
import TOMLText
import Transport

/// A file by its name.
struct ConfigurationFile {
  let path: String

  /// The largest file that is read, in octets.
  static let sizeLimit = 1 << 20

  /// The listeners, each checked; or the first fault.
  func listeners() throws(ConfigurationError) -> [ListenerSettings] {
    let reading = try read()
    guard let first = reading.faults.first else { return reading.listeners.map(\.settings) }
    let others = reading.faults.count - 1
    let hint = others == 0 ? "" : " (and \(others) more: starttlsd config \(path) prints all)"
    throw ConfigurationError(description: "\(path), \(first.description)\(hint)", code: first.code)
  }

  /// Reads and checks all of it.
  ///
  /// - Throws: if the file cannot be read at all.
  func read() throws(ConfigurationError) -> ConfigurationReading {
    let octets = try content()
    do throws(TOMLError) {
      return ConfigurationReading(try TOMLDocument(parsing: octets))
    } catch {
      throw .usage("\(path), \(error.position): \(error.text)")
    }
  }

  private func content() throws(ConfigurationError) -> [UInt8] {
    let octets: [UInt8]
    var status = stat()
    do throws(SystemError) {
      // A FIFO must not be waited for.
      let descriptor = Descriptor(adopting: try Kernel.open(path, O_RDONLY | O_NONBLOCK))
      guard fstat(descriptor.number, &status) == 0 else { throw SystemError.last("fstat") }
      let isRegular = status.st_mode & S_IFMT == S_IFREG
      octets = isRegular ? try ConfigurationFile.content(of: descriptor.number) : []
    } catch {
      throw .usage("\(path): \(error): name a file that \(geteuid() == 0 ? "root" : "this user") can read")
    }
    try ConfigurationFile.check(status, path)
    try FoldersAbove.check(path)
    guard octets.count <= ConfigurationFile.sizeLimit else {
      throw .usage("\(path) has more than \(ConfigurationFile.sizeLimit) octets")
    }
    return octets
  }

  /// Throws if others than root and this user can change the file.
  private static func check(_ status: stat, _ path: String) throws(ConfigurationError) {
    guard status.st_mode & S_IFMT == S_IFREG else { throw .usage("\(path) is not a regular file") }
    let reason = "whoever can write to it decides what starttlsd starts"
    guard status.st_uid == 0 || status.st_uid == geteuid() else {
      throw .usage("\(path) belongs to the user with the number \(status.st_uid), and \(reason): use chown")
    }
    guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
      throw .usage("\(path) can be written by others than its owner, and \(reason): use chmod go-w")
    }
  }

  /// The content, one octet more than the limit at least if it is larger.
  private static func content(of number: CInt) throws(SystemError) -> [UInt8] {
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while octets.count <= sizeLimit {
      let count = Glibc.read(number, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw SystemError.last("read") }
      if count == 0 { break }
      octets += buffer[..<count]
    }
    return octets
  }
}
