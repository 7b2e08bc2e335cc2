// Program: starttls-replay from its arguments to its report.
//
// Failure: one line on standard error. The exit code is the highest of all files.

import Glibc
import ProgramSupport
import SessionRecording
import Transport

enum ExitCode: CInt {
  case same = 0
  case different = 1
  case usage = 100
  case system = 111
}

enum Program {
  /// The longest file that is read: a recording is far smaller.
  private static let limit = 16 << 20

  static func run(count: CInt, arguments: CommandLineOption.Arguments) -> ExitCode {
    guard (try? StandardStreams.prepare(for: .daemon)) != nil else { return .system }
    var options = Options()
    let answer = Options.text.answer { () throws(CommandLineError) in
      options = try Options(count: count, arguments: arguments)
      return options.purpose
    }
    if let answer { return ExitCode(rawValue: answer) ?? .system }
    var worst = ExitCode.same
    for file in options.files {
      let code = replay(file, options.transcript)
      if code.rawValue > worst.rawValue { worst = code }
    }
    return worst
  }

  private static func replay(_ file: String, _ transcript: String?) -> ExitCode {
    let octets: [UInt8]
    do throws(SystemError) {
      octets = try contents(file)
    } catch {
      StandardStreams.complain(Options.text.name, "\(file): \(error)")
      return .system
    }
    guard octets.count <= limit else { return refuse(file, "longer than \(limit) octets: no recording") }
    let recording: Recording
    do throws(Recording.Malformed) {
      recording = try Recording(reading: String(decoding: octets, as: UTF8.self))
    } catch {
      return refuse(file, error.description)
    }
    if let transcript, let code = write(recording, to: transcript) { return code }
    return report(file, recording, quietly: transcript == "-")
  }

  private static func refuse(_ file: String, _ why: String) -> ExitCode {
    StandardStreams.complain(Options.text.name, "\(file): \(why)")
    return .usage
  }

  // MARK: The report

  private static func report(_ file: String, _ recording: Recording, quietly: Bool) -> ExitCode {
    let replay = Replay(recording)
    var lines: [String] = []
    var code = ExitCode.same
    if let difference = replay.difference() {
      lines = self.lines(of: difference, file)
      code = .different
    } else if recording.isImplicit {
      lines = ["\(file): the same: TLS from the start, nothing was decided"]
    } else {
      let (events, cuts) = replay.counts
      let isFull = recording.entries.contains { $0.content == .full }
      lines = ["\(file): the same: \(events) events, \(cuts) cuts\(isFull ? ", until the recording was full" : "")"]
    }
    let text = lines.map(EscapedText.string).joined(separator: "\n") + "\n"
    if quietly && code == .same { return code }
    return StandardStreams.print(text) ? code : .system
  }

  private static func lines(of difference: Difference, _ file: String) -> [String] {
    let (manner, expected, found) =
      switch difference.manner {
      case .asRecorded: ("", "recorded", "now")
      case .octetByOctet: (", octet by octet", "recorded", "now")
      case .dividedAfter(let count): (", divided after \(count) octets", "in one piece", "divided")
      }
    var lines = ["\(file): line \(difference.line): different\(manner)"]
    lines += difference.event.lines.map { "  event: \($0)" }
    lines += block(expected, difference.expected) + block(found, difference.found)
    if let note = difference.note { lines.append("  note: \(note)") }
    return lines
  }

  private static func block(_ title: String, _ deeds: [Recording.Deed]) -> [String] {
    let lines = deeds.flatMap(\.lines)
    return lines.isEmpty ? ["  \(title): nothing"] : lines.map { "  \(title): \($0)" }
  }

  // MARK: Files

  private static func write(_ recording: Recording, to path: String) -> ExitCode? {
    guard !recording.isImplicit else { return refuse(path, "no transcript: with TLS from the start nothing is decided") }
    let ends = recording.entries.compactMap { if case .over(let end) = $0.content { end } else { nil } }
    let text = recording.transcript("A recorded session\(ends.last.map { " that ended: \($0)" } ?? "").")
    if path == "-" { return StandardStreams.print(text) ? nil : .system }
    do throws(SystemError) {
      let file = Descriptor(adopting: try Kernel.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644))
      try write(Array(text.utf8), to: file.number)
    } catch {
      StandardStreams.complain(Options.text.name, "\(path): \(error)")
      return .system
    }
    return nil
  }

  private static func write(_ octets: [UInt8], to number: CInt) throws(SystemError) {
    var written = 0
    while written < octets.count {
      let count = octets.withUnsafeBytes { Glibc.write(number, $0.baseAddress! + written, $0.count - written) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw SystemError.last("write") }
      written += count
    }
  }

  private static func contents(_ path: String) throws(SystemError) -> [UInt8] {
    let file = path == "-" ? STDIN_FILENO : try Kernel.open(path, O_RDONLY)
    defer { if path != "-" { close(file) } }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while octets.count <= limit {
      let count = read(file, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw SystemError.last("read") }
      if count == 0 { break }
      octets += buffer.prefix(count)
    }
    return octets
  }
}
