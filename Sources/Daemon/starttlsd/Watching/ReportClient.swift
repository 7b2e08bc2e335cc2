// ReportClient: one client that asks for a report.
//
// Contract: nothing waits for it. It has five seconds from its connection to the end of the report.

import Glibc
import Transport

final class ReportClient: EventOwner, TimerOwner {
  private static let milliseconds = 5_000

  private unowned let host: any ReportHost
  private let requestLimit: Int
  private let answer: ReportSocket.Answer
  private let hasFinished: (ReportClient) -> Void
  private var socket: Descriptor?
  private var watch: Watch?
  private var request: [UInt8] = []
  private var isRequestComplete = false
  private var report: ArraySlice<UInt8>?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// - Parameters:
  ///   - answer: gets the request whenever it has grown.
  ///   - hasFinished: is called once.
  init(
    _ host: any ReportHost, _ socket: consuming Descriptor, requestLimit: Int, _ answer: @escaping ReportSocket.Answer,
    hasFinished: @escaping (ReportClient) -> Void
  ) {
    self.host = host
    self.requestLimit = requestLimit
    self.answer = answer
    self.hasFinished = hasFinished
    self.socket = consume socket
  }

  /// Waits for the request.
  func read(now: Int) {
    begin(now: now)
    wait(for: CShort(POLLIN))
  }

  /// Sends a report to a client that need not ask.
  func send(_ octets: [UInt8], now: Int) {
    begin(now: now)
    send(octets)
  }

  private func begin(now: Int) {
    deadline = now + ReportClient.milliseconds
    host.timers.schedule(self)
  }

  /// Sends the report. Without effect if the client has left.
  func send(_ octets: [UInt8]) {
    isRequestComplete = true
    guard socket != nil, report == nil else { return }
    report = octets[...]
    wait(for: CShort(POLLOUT))
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    if due <= now { return finish() }
    if !isRequestComplete { read() }
    if report != nil { write() }
  }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: requestLimit - request.count)
    let received = buffer.withUnsafeMutableBytes { socket?.receiveNow(into: $0) ?? .ended }
    switch received {
    case .moved(let count): request += buffer[..<count]
    case .wouldBlock: return
    case .ended, .failed: return finish()
    }
    if answer(self, request) {
      isRequestComplete = true
      if report == nil { pause() }
    } else if request.count >= requestLimit {
      finish()
    }
  }

  /// The report is made. Until then an end of the client has no effect.
  private func pause() {
    if let watch { host.loop.remove(watch.descriptor) }
    watch = nil
  }

  private func write() {
    while let rest = report, !rest.isEmpty {
      switch rest.withUnsafeBytes({ socket?.sendNow($0) ?? .ended }) {
      case .moved(let count): report = rest.dropFirst(count)
      case .wouldBlock: return
      case .ended, .failed: return finish()
      }
    }
    finish()
  }

  private func wait(for events: CShort) {
    guard let number = socket?.pollNumber() else { return }
    let wanted = Watch(descriptor: number, events: events)
    do {
      try host.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      finish()
    }
  }

  func finish() {
    guard socket != nil else { return }
    if let watch { host.loop.forget(watch.descriptor) }
    watch = nil
    socket = nil
    deadline = nil
    hasFinished(self)
  }
}

extension Descriptor {
  fileprivate mutating func receiveNow(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
  fileprivate mutating func sendNow(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
