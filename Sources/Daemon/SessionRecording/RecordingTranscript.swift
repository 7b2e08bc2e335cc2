// RecordingTranscript: a recording as a transcript for Fixtures/transcripts, a test of the session.
//
// The expectations are what the machine of this program does. Answers to peeks and the time when the kernel had taken the 220 stay
// events of the transcript (`by hand`), as they were in the recording.

import SMTPState
import Transport

extension Recording {
  /// The text of the transcript. `comment` is its first line, which says what the test is about.
  package func transcript(_ comment: String) -> String {
    // A stranger may have written the recording: the operator's terminal gets no control character of it.
    var lines = ["# \(comment)", "# Recorded by \(program) on \(date)."].map(EscapedText.string)
    lines += policy.lines(onlyChanged: true)
    let steps = steps
    // Another event, such as an expired timer, may have come in place of the answer.
    let deeds = steps.flatMap(\.deeds)
    if deeds.contains(where: \.isPeek) { lines.append("by hand peeks") }
    if deeds.contains(where: \.isPromise) { lines.append("by hand drains") }
    lines.append("")
    var player = PlayedSession(policy)
    var isAfterSilence = false
    for step in steps {
      let deeds = player.play(step.event)
      if isAfterSilence && step.event.arrives { lines.append("pause") }
      lines += step.event.lines
      lines += deeds.runTogether.flatMap(\.lines)
      isAfterSilence = deeds.isEmpty && step.event.arrives
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension Recording.Event {
  /// Whether it is an arrival: consecutive ones would be one segment.
  fileprivate var arrives: Bool {
    switch self {
    case .received, .other(.inputEnded(_)): true
    case .other: false
    }
  }
}

extension Recording.Deed {
  fileprivate var isPeek: Bool {
    if case .decided(let words) = self { words.hasPrefix("peek ") } else { false }
  }

  /// The 220 to STARTTLS.
  fileprivate var isPromise: Bool {
    if case .wrote(.client, let octets) = self { octets.starts(with: Octet.of(Reply.readyForTLS.text)) } else { false }
  }
}

extension [Recording.Deed] {
  /// Octets to the same side in one deed.
  fileprivate var runTogether: [Recording.Deed] {
    var list: [Recording.Deed] = []
    for deed in self {
      if case .wrote(let side, let octets) = deed, case .wrote(side, let before)? = list.last {
        list[list.count - 1] = .wrote(side, before + octets)
      } else {
        list.append(deed)
      }
    }
    return list
  }
}
