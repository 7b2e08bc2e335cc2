// ProcessTable: what /proc says about the processes of a test.

import Foundation
import Glibc

/// Looks at processes from outside.
enum ProcessTable {
  /// Every process number.
  static var all: [pid_t] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { pid_t($0) }
  }

  /// The children of a process, those among them that have ended and are not reaped yet.
  static func children(of parent: pid_t) -> [pid_t] {
    all.filter { stat($0)?[1] == "\(parent)" }
  }

  /// The processes that a daemon has forked of itself, by the names that it gives them.
  static func helpers(of daemon: pid_t) -> [String: pid_t] {
    let named = children(of: daemon).map { (text("/proc/\($0)/comm").trimmingCharacters(in: .newlines), $0) }
    return Dictionary(named.filter { $0.0.hasPrefix("starttlsd-") }) { first, _ in first }
  }

  /// The processes of its server program: its own children, and those of the process that starts them for it.
  static func backends(of daemon: pid_t) -> [pid_t] {
    let helpers = helpers(of: daemon)
    let own = children(of: daemon).filter { !helpers.values.contains($0) }
    return own + (helpers["starttlsd-start"].map(children) ?? [])
  }

  /// The lines of /proc/PID/status by their names.
  static func status(of process: pid_t) -> [String: String] {
    var found: [String: String] = [:]
    for line in text("/proc/\(process)/status").split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      if parts.count == 2 { found[String(parts[0])] = parts[1].trimmingCharacters(in: .whitespaces) }
    }
    return found
  }

  /// The soft limit in a line of /proc/PID/limits.
  static func limit(_ name: String, of process: pid_t) -> String? {
    let line = text("/proc/\(process)/limits").split(separator: "\n").first { $0.hasPrefix(name) }
    return line?.dropFirst(name.count).split(separator: " ").first.map(String.init)
  }

  /// All processes whose environment holds this entry, `NAME=value`.
  static func processes(with entry: String) -> [pid_t] {
    all.filter { environment(of: $0).contains(entry) }
  }

  /// The environment that a process was started with.
  static func environment(of process: pid_t) -> [String] {
    read("/proc/\(process)/environ").split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  static func commandLine(of process: pid_t) -> String {
    read("/proc/\(process)/cmdline").split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      .joined(separator: " ")
  }

  /// The open descriptors of a process and what they are open on.
  static func descriptors(of process: pid_t) -> [Int: String] {
    let folder = "/proc/\(process)/fd"
    var found: [Int: String] = [:]
    for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
      guard let number = Int(name), let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")
      else { continue }
      found[number] = target
    }
    return found
  }

  /// The status flags (F_GETFL) of a descriptor of another process.
  static func statusFlags(of descriptor: Int, in process: pid_t) -> CInt? {
    let lines = text("/proc/\(process)/fdinfo/\(descriptor)").split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("flags:") }), let word = line.split(separator: "\t").last
    else { return nil }
    return CInt(word, radix: 8)
  }

  /// The accepted socket of a connection over 127.0.0.1, as `socket:[inode]`.
  static func acceptedSocket(on port: UInt16, from peer: UInt16) -> String? {
    tcp(on: port, from: peer).map { "socket:[\($0[9])]" }
  }

  /// How many octets the accepted socket of a connection over 127.0.0.1 has sent without an acknowledgement, and how many
  /// it has received that nobody has read.
  static func queues(on port: UInt16, from peer: UInt16) -> (sending: Int, receiving: Int)? {
    guard let words = tcp(on: port, from: peer)?[4].split(separator: ":"), words.count == 2,
      let sending = Int(words[0], radix: 16), let receiving = Int(words[1], radix: 16)
    else { return nil }
    return (sending, receiving)
  }

  /// Whether the accepted socket of a connection over 127.0.0.1 has ended its sending half (TCP_FIN_WAIT1), though what
  /// it has sent has not all arrived.
  static func hasEndedSending(on port: UInt16, from peer: UInt16) -> Bool { tcp(on: port, from: peer)?[3] == "04" }

  /// The words of /proc/net/tcp about a connection.
  private static func tcp(on port: UInt16, from peer: UInt16) -> [Substring]? {
    let wanted = [port, peer].map { String(format: "0100007F:%04X", $0)[...] }
    for line in text("/proc/net/tcp").split(separator: "\n").dropFirst() {
      let words = line.split(separator: " ")
      if words.count > 9, Array(words[1...2]) == wanted { return words }
    }
    return nil
  }

  /// The processor time that a process has used, in seconds. It moves in steps of a hundredth.
  static func processorTime(of process: pid_t) -> Double? {
    guard let words = stat(process), words.count > 12, let user = Double(words[11]), let system = Double(words[12])
    else { return nil }
    return (user + system) / Double(sysconf(CInt(_SC_CLK_TCK)))
  }

  /// Whether a process that has nothing to do is found to use less than a tenth of a second's processor time, within the limit of all waits:
  /// it may have something to do first, and one that spins is never found so. One that has ended is not idle.
  static func becomesIdle(_ process: pid_t) -> Bool {
    eventually {
      let before = processorTime(of: process) ?? -1
      usleep(1_000_000)
      return (processorTime(of: process) ?? .infinity) - before < 0.1
    }
  }

  /// The memory of a process that is not in files, in octets.
  static func residentMemory(of process: pid_t) -> Int? {
    status("RssAnon", of: process).map { $0 * 1024 }
  }

  /// The process that traces another one; 0 for none.
  static func tracer(of process: pid_t) -> pid_t? {
    status("TracerPid", of: process).map { pid_t($0) }
  }

  /// A number of /proc/PID/status.
  private static func status(_ name: String, of process: pid_t) -> Int? {
    let lines = text("/proc/\(process)/status").split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix(name + ":") }) else { return nil }
    return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) }
  }

  /// The words of /proc/PID/stat after the name: state, parent, ...
  private static func stat(_ process: pid_t) -> [Substring]? {
    let line = text("/proc/\(process)/stat")
    guard let end = line.lastIndex(of: ")") else { return nil }
    return line[line.index(after: end)...].split(separator: " ")
  }

  /// All of a file. Foundation stops at the first short read, which is the first page of a long file in /proc.
  static func text(_ path: String) -> String { String(decoding: read(path), as: UTF8.self) }

  /// Files in /proc have no size: read to the end.
  private static func read(_ path: String) -> [UInt8] {
    let number = open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return [] }
    defer { close(number) }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = Glibc.read(number, &buffer, buffer.count)
      guard count > 0 else { return octets }
      octets += buffer[..<count]
    }
  }
}
