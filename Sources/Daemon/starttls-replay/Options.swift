// Options: the command line.
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport

struct Options {
  var purpose = CommandLinePurpose.serve
  /// Where to write the transcript; nil for none.
  var transcript: String?
  /// The recordings.
  var files: [String] = []

  init() {}

  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    let first = try Name.parse(count: count, arguments: arguments) { (option, value) throws(CommandLineError) in
      switch option {
      case .transcript: options.transcript = value
      case .help: options.purpose = .help
      case .version: options.purpose = .version
      }
    }
    options.files = (first..<max(first, Int(count))).compactMap { arguments[$0].map { String(cString: $0) } }
    guard options.purpose != .serve || !options.files.isEmpty else { throw CommandLineError("no recording to replay; see --help") }
    guard options.transcript == nil || options.files.count == 1 else {
      throw CommandLineError("--transcript can only be used with one recording")
    }
    self = options
  }

  private enum Name: Int, ProgramOption {
    case transcript, help, version

    var form: CommandLineOption {
      switch self {
      case .transcript: CommandLineOption("t", "transcript", takesValue: true)
      case .help: CommandLineOption(nil, "help")
      case .version: CommandLineOption(nil, "version")
      }
    }
  }

  static let text = ProgramText(
    name: "starttls-replay",
    help: """
      usage: starttls-replay [options] RECORDING...
      Decides sessions again that starttlsd --record has written: with the machine of this program, event by event, octet by
      octet, and with each run of octets divided at each octet. Prints the first difference, with what was recorded and what
      was decided now.

        -t, --transcript FILE    write the session as a transcript, a test for Fixtures/transcripts; - for standard output
            --help, --version    print this text or the version

      A RECORDING of - is standard input.
      exit codes: 0 all are the same, 1 one differs, 100 usage or no recording, 111 system failure

      """)
}
