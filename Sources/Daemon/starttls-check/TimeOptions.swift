// TimeOptions: how long the checks wait. The defaults for a server on this machine are shorter.

import ArgumentParser

struct TimeOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Seconds to wait for a reply.", valueName: "seconds"))
  var timeout = 10

  @Option(help: ArgumentHelp("Milliseconds to wait for something that should not come [300 on loopback, else 1500].", valueName: "milliseconds"))
  var quiet: Int?

  @Option(help: ArgumentHelp("Seconds to measure how long the server waits for a stalled handshake.", valueName: "seconds"))
  var stall = 10

  @Option(help: ArgumentHelp("Milliseconds between two connections [0 on loopback, else 300].", valueName: "milliseconds"))
  var pause: Int?

  @Option(help: ArgumentHelp("Seconds for the whole run [3600, with --thorough 36000].", valueName: "seconds"))
  var limit: Int?

  func timing(isLoopback: Bool, isThorough: Bool) throws(CheckFailure) -> Timing {
    var timing = Timing()
    timing.reply = try checked(timeout, "--timeout", 1...600) * 1000
    timing.quiet = try checked(quiet ?? (isLoopback ? 300 : 1500), "--quiet", 1...60_000)
    timing.stall = try checked(stall, "--stall", 1...3600) * 1000
    timing.pause = try checked(pause ?? (isLoopback ? 0 : 300), "--pause", 0...60_000)
    timing.run = try checked(limit ?? (isThorough ? 36_000 : 3600), "--limit", 1...1_000_000) * 1000
    timing.cut = isLoopback ? 20 : 100
    return timing
  }

  private func checked(_ number: Int, _ name: String, _ range: ClosedRange<Int>) throws(CheckFailure) -> Int {
    guard range.contains(number) else {
      throw CheckFailure("\(name) \(number): give a number from \(range.lowerBound) to \(range.upperBound)", ExitCode.usage)
    }
    return number
  }
}
