// SyslogSender: lines as datagrams to the system log, /dev/log, in the format of RFC 5424:
//
//   <22>1 2026-11-28T18:01:55.123Z mx.example starttlsd 4711 session - peer=192.0.2.7:47046 ...
//
// Contract: no call waits. A line that the log cannot take now is lost and counted; the count is sent as a line as soon
// as the log takes lines again.
//
// The socket is not connected: each line is sent to the path. So a log that was started again is found without a call that the sandbox
// forbids.
//
// Failure: while the log is gone, lines are lost.

import Glibc
import Logging
import ProgramSupport
import Transport

struct SyslogSender: ~Copyable {
  private let facility: Int
  private let host: String
  private let socket: Descriptor
  private var lost = 0

  /// Finds the log.
  init(_ facility: SyslogFacility) throws(ConfigurationError) {
    self.facility = facility.number
    host = SyslogSender.hostName()
    do throws(SystemError) {
      // Connecting shows whether there is a log.
      try DatagramSocket.connect(try DatagramSocket.create(), to: SystemLog.path)
      socket = try DatagramSocket.create()
    } catch {
      throw .system("--syslog: \(SystemLog.path) cannot be used: \(error): start the system log, or remove --syslog")
    }
  }

  /// Sends one line, or counts it as lost.
  mutating func send(_ level: Logger.Level, message: String, text: String) {
    if lost > 0 {
      let count = "\(lost) lines of this log were lost: the system log did not take them"
      guard transmit(datagram(.warning, "-", count)) else {
        lost += 1
        return
      }
      lost = 0
    }
    if !transmit(datagram(level, message == "session" ? message : "-", text)) { lost += 1 }
  }

  private func datagram(_ level: Logger.Level, _ identifier: String, _ text: String) -> [UInt8] {
    let priority = facility << 3 | SyslogSender.severity(level)
    var octets = Array("<\(priority)>1 \(LogLine.preciseTime()) \(host) starttlsd \(getpid()) \(identifier) - ".utf8)
    EscapedText.append(text.utf8, to: &octets)
    return octets
  }

  private func transmit(_ octets: [UInt8]) -> Bool {
    (try? DatagramSocket.send(octets, to: socket, at: SystemLog.path)) != nil
  }

  private static func severity(_ level: Logger.Level) -> Int {
    switch level {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }

  /// `-` if the name is not printable, as RFC 5424 requires.
  private static func hostName() -> String {
    var octets = [CChar](repeating: 0, count: 256)
    guard gethostname(&octets, 255) == 0 else { return "-" }
    let name = octets.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    guard !name.isEmpty, name.allSatisfy({ (0x21...0x7E).contains($0) }) else { return "-" }
    return String(decoding: name, as: UTF8.self)
  }
}
