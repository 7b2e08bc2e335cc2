// Recordings: chooses the sessions that are recorded, and passes finished recordings to the process that writes them.
//
// Contract: nothing here waits. What the process has not taken yet is a queue of a limited size, and all recordings of running
// sessions together have a limit. What does not fit is lost, never a session.
// Failure: one line in the log, see RepeatedWarning. If the process has ended, no more is recorded.

import CKernel
import ClientAccess
import Glibc
import Logging
import ProgramSupport
import SMTPState
import SessionRecording
import Transport

final class Recordings: EventOwner {
  /// The most octets that wait for the process.
  private static let queueLimit = 4 << 20

  private unowned let daemon: Daemon
  private let settings: RecordSettings
  private let process: ForkedProcess
  private let warning: RepeatedWarning
  private var watch: Watch?
  private var pending: [[UInt8]] = []
  private var pendingSize = 0
  private var hasEnded = false
  /// What the recorders of running sessions take.
  private var memory = 0
  /// When the minute began in which so many sessions were recorded because they ended badly.
  private var minute = (startedAt: 0, count: 0)
  /// For the share. It begins anywhere, so that of many processes with one session each, that share is recorded.
  private var sessions: UInt32

  init(_ daemon: Daemon, _ settings: RecordSettings, _ process: consuming ForkedProcess) throws(SystemError) {
    self.daemon = daemon
    self.settings = settings
    self.process = process
    warning = RepeatedWarning(daemon.log, daemon.timers)
    sessions = settings.share.map { UInt32.random(in: 0..<$0.all) } ?? 0
    try register()
  }

  /// For the log, at the start.
  var summary: String {
    var parts: [String] = []
    if let share = settings.share { parts.append("\(share.part) of \(share.all) sessions") }
    if !settings.networks.isEmpty { parts.append("those of \(settings.networks.count) networks") }
    if settings.hasFailures { parts.append("those that end badly") }
    return "recordings in \(settings.folder): \(parts.joined(separator: ", "))"
  }

  // MARK: Sessions

  /// A recorder for a session that begins; nil if it is not recorded.
  func begin(_ identifier: String, peer: SocketAddress, isImplicit: Bool, now: Int) -> SessionRecording? {
    guard !hasEnded else { return nil }
    let isChosen = isOfShare() || settings.networks.contains { $0.contains(peer) }
    // With TLS from the start there is nothing to decide again.
    guard isChosen || settings.hasFailures && !isImplicit else { return nil }
    guard memory < settings.memoryLimit else {
      warning.note("a session is not recorded: the recordings of the sessions that run take \(memory) octets", now: now)
      return nil
    }
    let head = Recording(
      program: "starttlsd \(Version.text)", session: identifier, date: Recordings.date("%Y-%m-%dT%H:%M:%SZ"),
      client: settings.keepsAddress ? SessionLine.peer(peer) : nil, redaction: settings.redaction, policy: daemon.configuration.policy,
      isImplicit: isImplicit)
    return SessionRecording(
      recorder: SessionRecorder(head, limit: settings.sizeLimit), name: "\(Recordings.date("%Y%m%dT%H%M%SZ"))-\(identifier)\(RecordingProcess.suffix)",
      isChosen: isChosen)
  }

  private func isOfShare() -> Bool {
    guard let share = settings.share else { return false }
    sessions = (sessions + 1) % share.all
    return sessions % share.all < share.part
  }

  private static func date(_ format: String) -> String {
    var seconds = time(nil)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    var text = [CChar](repeating: 0, count: 64)
    let count = strftime(&text, text.count, format, &parts)
    return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// A turn of the session has ended.
  func grew(_ recording: inout SessionRecording, now: Int) {
    let growth = recording.recorder.memory - recording.size
    count(&recording)
    guard growth > 0, memory > settings.memoryLimit else { return }
    recording.recorder.stop()
    count(&recording)
    warning.note("a recording ends early: the recordings of the sessions that run take \(memory) octets", now: now)
  }

  private func count(_ recording: inout SessionRecording) {
    memory += recording.recorder.memory - recording.size
    recording.size = recording.recorder.memory
  }

  /// The session has ended.
  func finish(_ recording: SessionRecording, _ record: SessionRecord, failure: String?, now: Int) {
    memory -= recording.size
    guard recording.isChosen || failure != nil || record.endedBadly, !hasEnded else { return }
    guard recording.isChosen || isWithinMinute(now) else {
      return warning.note("a recording is not written: more than \(settings.failuresLimit) sessions ended badly in a minute", now: now)
    }
    let text = Array(recording.recorder.finish(SessionLine.end(record.end)).text.utf8)
    guard pendingSize + text.count <= Recordings.queueLimit else {
      return warning.note("a recording is lost: the process that writes them is too slow", now: now)
    }
    queue(RecordingProcess.begin, Array(recording.name.utf8), first: recording.isChosen ? 0 : 1)
    var rest = text[...]
    while !rest.isEmpty {
      queue(RecordingProcess.part, Array(rest.prefix(HelperMessage.textLimit)))
      rest = rest.dropFirst(HelperMessage.textLimit)
    }
    queue(RecordingProcess.end, [])
    flush()
  }

  /// Whether one more session that ended badly is recorded in this minute.
  private func isWithinMinute(_ now: Int) -> Bool {
    if minute.count == 0 || now - minute.startedAt >= 60_000 { minute = (now, 0) }
    guard minute.count < settings.failuresLimit else { return false }
    minute.count += 1
    return true
  }

  // MARK: The process

  private func queue(_ kind: Int32, _ payload: [UInt8], first: Int32 = 0) {
    guard let octets = HelperMessage(kind, first: first, payload: payload).octets else { return }
    pending.append(octets)
    pendingSize += octets.count
  }

  private func flush() {
    var count = 0
    var lack: SystemError?
    for octets in pending {
      do {
        try process.socket.send(octets)
      } catch {
        // Without room the rest stays. If the process has ended, the end of the connection is reported soon.
        if MessageSocket.isLack(error) { lack = error }
        break
      }
      pendingSize -= octets.count
      count += 1
    }
    pending.removeFirst(count)
    if let lack {
      // No event reports its end. The process forgets an incomplete recording when the next one begins.
      (pending, pendingSize) = ([], 0)
      warning.note("a recording is lost: \(lack)", now: Clock.now())
    }
    do { try register() } catch { end("cannot be waited for: \(error)") }
  }

  private func register() throws(SystemError) {
    guard !hasEnded else { return }
    let events = pending.isEmpty ? CShort(POLLIN) : CShort(POLLIN | POLLOUT)
    let wanted = Watch(descriptor: process.socket.descriptor.number, events: events)
    try daemon.loop.update(watch, to: wanted, for: self)
    watch = wanted
  }

  func ready(now: Int) {
    while !hasEnded {
      switch process.socket.receive(limit: HelperMessage.limit) {
      case .nothing: return pending.isEmpty ? () : flush()
      case .ended: return end("has ended")
      case .message(let message):
        guard let known = HelperMessage(message.octets) else { return end("sent a message of an unknown form") }
        note(known, now: now)
      }
    }
  }

  /// The process has not written a recording.
  private func note(_ message: HelperMessage, now: Int) {
    guard message.kind != RecordingProcess.refused else {
      // Those of a share or of an address are among them.
      return warning.note("a recording is not written: the folder has \(settings.failuresLimit) of the last minute already", now: now)
    }
    let error = SystemError(String(decoding: message.payload, as: UTF8.self), message.first)
    warning.note("a recording is lost: \(settings.folder): \(error)", now: now)
  }

  private func end(_ how: String) {
    hasEnded = true
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    pending = []
    pendingSize = 0
    daemon.log.error("starttlsd-rec, which writes recordings, \(process.howItEnded(how)): no more sessions are recorded until starttlsd is started again")
  }

  /// The end of starttlsd: the process writes what it was sent, and reports what it could not write.
  func finish() {
    defer { warning.flush() }
    guard !hasEnded else { return }
    let limit = Clock.now() + 1_000
    while !pending.isEmpty, !hasEnded, Clock.now() < limit {
      wait(for: CShort(POLLOUT), until: limit)
      flush()
    }
    hasEnded = true
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    // The order to end, which leaves the other direction open for its reports.
    try? Kernel.shutdown(process.socket.descriptor.number, CInt(SHUT_WR))
    reading: while Clock.now() < limit {
      switch process.socket.receive(limit: HelperMessage.limit) {
      case .nothing: wait(for: CShort(POLLIN), until: limit)
      case .ended: break reading
      case .message(let message): if let known = HelperMessage(message.octets) { note(known, now: Clock.now()) }
      }
    }
    _ = process.end(within: 1_000)
  }

  private func wait(for events: CShort, until limit: Int) {
    var entry = pollfd(fd: process.socket.descriptor.number, events: events, revents: 0)
    _ = poll(&entry, 1, CInt(clamping: max(0, limit - Clock.now())))
  }
}

/// The recording of a session that runs.
struct SessionRecording {
  let recorder: SessionRecorder
  /// The name of its file.
  let name: String
  /// False if it is written only if the session ends badly.
  let isChosen: Bool
  /// What it took after the last turn.
  var size = 0
}

extension SessionRecord {
  /// Whether an operator would ask why the session ended.
  fileprivate var endedBadly: Bool {
    if failure != nil { return true }
    switch end {
    case .closed(.quit), .closed(.clientEnded), .closed(.mail), .relayed, .stopped: return false
    case .closed, .relayIdle, .sessionTimeout, .clientLost, .earlyTalker, .outputStalled, nil: return true
    }
  }
}
