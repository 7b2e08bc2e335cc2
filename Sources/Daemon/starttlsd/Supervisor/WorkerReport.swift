// WorkerReport: the request for the metrics of one worker.
//
// The worker gets one end of a new connection over its channel, writes its metrics to it and closes it.
//
// Contract: nothing waits for the worker. At most one request of a worker is open, so one that does not answer holds one descriptor.
// What comes too late, or is longer than the limit, is not used.

import Glibc
import Transport

final class WorkerReport: EventOwner {
  enum State: Hashable {
    case pending
    /// Everything has come.
    case complete
    /// More than the limit has come.
    case tooLong
    case failed
  }

  private unowned let supervisor: Supervisor
  /// nil once it has ended.
  private(set) weak var worker: Worker?
  /// In octets.
  let limit: Int
  private let hasEnded: () -> Void
  private var socket: Descriptor?
  private var watch: Watch?
  private(set) var octets: [UInt8] = []
  private(set) var state = State.pending
  /// True if nobody waits for it any more.
  var isLate = false {
    didSet { if isLate { octets = [] } }
  }
  private var received = 0

  /// In one turn.
  private static let batch = 8
  private static let chunk = 65_536

  /// Sends the request.
  ///
  /// - Parameter hasEnded: is called when it has ended and is not late.
  init(_ supervisor: Supervisor, _ worker: Worker, limit: Int, hasEnded: @escaping () -> Void) throws(SystemError) {
    self.supervisor = supervisor
    self.worker = worker
    self.limit = limit
    self.hasEnded = hasEnded
    let pair = try DescriptorPair.sockets()
    try Kernel.sendMessage(
      worker.channel.descriptor.number, Array("METRICS=1".utf8), pair.second.number, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    let own = pair.takeFirst()
    let wanted = Watch(descriptor: own.number, events: CShort(POLLIN))
    socket = consume own
    try supervisor.loop.update(nil, to: wanted, for: self)
    watch = wanted
  }

  func ready(now: Int) {
    var buffer = [UInt8](repeating: 0, count: WorkerReport.chunk)
    for _ in 0..<WorkerReport.batch where socket != nil {
      switch buffer.withUnsafeMutableBytes({ socket?.receiveReport(into: $0) ?? .ended }) {
      case .moved(let count):
        received += count
        guard received <= limit else { return end(.tooLong) }
        if !isLate { octets += buffer[..<count] }
      case .wouldBlock: return
      case .ended: return end(.complete)
      case .failed: return end(.failed)
      }
    }
  }

  private func end(_ state: State) {
    self.state = state
    if let watch { supervisor.loop.remove(watch.descriptor) }
    watch = nil
    socket = nil
    worker?.report = nil
    if !isLate { hasEnded() }
  }
}

extension Descriptor {
  fileprivate mutating func receiveReport(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
}
