// LearnOptions: the options for a program that is started when it is needed. Failure: a ConfigurationError.

import ArgumentParser

struct LearnOptions: ParsableArguments {
  @Flag(
    help: """
      Learn the program's greeting and its reply to EHLO, and start the program when a session needs it. Only for a program that sends \
      every client the same.
      """)
  var learnGreeting = false

  @Option(help: ArgumentHelp("Minutes after which they are learnt again.", valueName: "minutes"))
  var learnInterval = 10

  /// The checked settings; nil without --learn-greeting.
  ///
  /// - Parameter path: the program's file; nil without a program.
  func settings(path: String?, isSingle: Bool) throws(ConfigurationError) -> LearnSettings? {
    guard (1...1_440).contains(learnInterval) else {
      throw .usage("--learn-interval \(learnInterval): give a number of minutes from 1 to 1440")
    }
    guard learnGreeting else { return nil }
    guard let path else { throw .usage("--learn-greeting cannot be used with --backend: no program is started there; remove one") }
    guard !isSingle else { throw .usage("--learn-greeting cannot be used with --inetd, which serves one client: remove one") }
    return LearnSettings(path: path, intervalMilliseconds: learnInterval * 60_000)
  }
}

struct LearnSettings {
  /// The program's file.
  let path: String
  let intervalMilliseconds: Int
}
