// ClientLoad: clients that come again and again, from threads of their own.

import CKernel
import Foundation
import Glibc

/// Each client connects, is greeted, delivers a message if it is asked to, and says goodbye; or does what the test chooses.
final class ClientLoad: @unchecked Sendable {
  // Unchecked: what changes is under the lock.

  private let port: UInt16
  private let isDelivering: Bool
  private let chosen: (@Sendable (_ number: Int) throws -> Void)?
  private let lock = NSLock()
  private let rate: Int
  private let startedAt = ProcessInfo.processInfo.systemUptime
  private var isOver = false
  /// How many connections have a time, and how many have begun.
  private var planned = 0
  private var begun = 0
  private var number = 0
  private var served = 0
  private var acknowledged: [String] = []
  private var faults: [String] = []
  private let group = DispatchGroup()

  // Enough for 200 connections a second even if a session takes 300 ms.
  private static let threads = 64

  /// - Parameter rate: connections a second that are offered: each has its time, whenever the others end. Those that are late, because
  ///   the machine or the server is slow, come as soon as one of 64 places is free.
  /// - Parameter session: one client, with its number, on one of 64 threads; it throws what went wrong. nil: in clear, as above.
  init(port: UInt16, rate: Int, delivering: Bool = false, session: (@Sendable (_ number: Int) throws -> Void)? = nil) {
    self.port = port
    isDelivering = delivering
    chosen = session
    self.rate = rate
    for _ in 0..<ClientLoad.threads {
      group.enter()
      Thread.detachNewThread { [self] in
        while let (number, due) = next() {
          usleep(UInt32(max(0, due - ProcessInfo.processInfo.systemUptime) * 1_000_000))
          lock.withLock { begun += 1 }
          let fault = fault(number)
          lock.withLock { if let fault { faults.append(fault) } else { served += 1 } }
        }
        group.leave()
      }
    }
  }

  /// The next connection and its time; nil if there is to be none.
  private func next() -> (number: Int, due: Double)? {
    lock.withLock {
      defer { planned += 1 }
      return isOver ? nil : (planned, startedAt + Double(planned) / Double(rate))
    }
  }

  /// What was offered and what was served until now.
  var summary: String {
    let seconds = ProcessInfo.processInfo.systemUptime - startedAt
    func rate(_ number: Int) -> String { String(format: "%.0f", Double(number) / seconds) }
    return lock.withLock {
      String(format: "%.1f s: ", seconds) + "\(begun) connections offered, \(rate(begun)) a second; "
        + "\(served) sessions served, \(rate(served)) a second; \(faults.count) refused or failed"
    }
  }

  /// How many connections have begun.
  var offered: Int { lock.withLock { begun } }
  /// How many clients were served to the end.
  var count: Int { lock.withLock { served } }
  /// The subjects of the messages that were acknowledged.
  var subjects: [String] { lock.withLock { acknowledged } }

  /// Ends it; returns what went wrong.
  func end() -> [String] {
    lock.withLock { isOver = true }
    group.wait()
    return faults
  }

  /// What went wrong with a client; nil if it was served.
  private func fault(_ number: Int) -> String? {
    guard let chosen else { return session() }
    do {
      try chosen(number)
      return nil
    } catch {
      return "client \(number): \(error)"
    }
  }

  /// nil if the client was served.
  private func session() -> String? {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    defer { close(number) }
    var time = timeval(tv_sec: Int(Deadline.seconds), tv_usec: 0)
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let answer = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard answer == 0 else { return "connect: \(String(cString: strerror(errno)))" }
    guard let greeting = line(number), greeting.hasPrefix("220 ") else { return "no greeting: \(String(cString: strerror(errno)))" }
    if isDelivering, let fault = deliver(number) { return fault }
    guard let bye = ask(number, "QUIT"), bye.hasPrefix("221 ") else { return "no reply to QUIT after \(greeting)" }
    return nil
  }

  private func deliver(_ socket: CInt) -> String? {
    let subject = lock.withLock {
      number += 1
      return "message-\(number)-"
    }
    let dialogue = [
      ("HELO client.example", "250 "), ("MAIL FROM:<a@example.org>", "250 "), ("RCPT TO:<b@example.org>", "250 "), ("DATA", "354 "),
      ("Subject: \(subject)\r\n\r\nx\r\n.", "250 "),
    ]
    for (command, reply) in dialogue {
      guard let got = ask(socket, command), got.hasPrefix(reply) else { return "no \(reply) to \(command)" }
    }
    lock.withLock { acknowledged.append(subject) }
    return nil
  }

  private func ask(_ socket: CInt, _ command: String) -> String? {
    let octets = Array((command + "\r\n").utf8)
    _ = send(socket, octets, octets.count, CInt(MSG_NOSIGNAL))
    return line(socket)
  }

  private func line(_ socket: CInt) -> String? {
    var octets: [UInt8] = []
    var octet: UInt8 = 0
    while recv(socket, &octet, 1, 0) == 1 {
      octets.append(octet)
      if octet == 10 { return String(decoding: octets, as: UTF8.self) }
    }
    return nil
  }
}
