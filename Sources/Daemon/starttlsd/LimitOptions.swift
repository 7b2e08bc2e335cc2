// LimitOptions: the options for what one address may use, and for the wait before the greeting.

import ArgumentParser
import ClientAccess

struct LimitOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Maximum number of concurrent sessions of one address, IPv6 by /64; 0 means no limit.", valueName: "number"))
  var maxConnectionsPerAddress = AddressLimits().connections

  @Option(help: ArgumentHelp("Connections of one address in a minute; 0 means no limit.", valueName: "number"))
  var maxConnectionsPerMinute = 0

  @Option(help: ArgumentHelp("TLS handshakes of one address in a minute; 0 means no limit.", valueName: "number"))
  var maxHandshakesPerMinute = 0

  @Option(
    help: ArgumentHelp(
      "Penalty points at which an address is refused, one decays every \(Penalty.decaySeconds) seconds; 0 means no limit.",
      valueName: "points"))
  var maxPenalty = AddressLimits().penalty

  @Option(
    help: ArgumentHelp(
      "Network to which no limit of an address applies, such as 192.0.2.0/24; may be repeated.", valueName: "network"))
  var exempt: [String] = []

  @Option(
    help: ArgumentHelp(
      "Seconds to wait before the greeting; a client that sends octets meanwhile gets 554. 0 means no wait.",
      valueName: "seconds"))
  var greetingWait = 0

  /// The smallest part of a limit that a worker gets: the kernel does not spread the clients of one address evenly.
  private static let least = 4
  /// The smallest part of --max-penalty that a worker gets, in points.
  private static let leastPenalty = 2 * Penalty.closed

  /// The checked limits; of a worker, its part of them. What a worker counts ends with it, so that nothing is left of one that was
  /// killed.
  func limits(_ worker: WorkerRole?) throws(ConfigurationError) -> AddressLimits {
    var limits = AddressLimits()
    limits.connections = try number(maxConnectionsPerAddress, "--max-connections-per-address")
    limits.connectionsPerMinute = try number(maxConnectionsPerMinute, "--max-connections-per-minute")
    limits.handshakesPerMinute = try number(maxHandshakesPerMinute, "--max-handshakes-per-minute")
    limits.penalty = try number(maxPenalty, "--max-penalty")
    if let worker {
      func part(_ limit: Int, least: Int) -> Int { max(worker.part(of: limit), min(limit, least)) }
      limits.connections = part(limits.connections, least: LimitOptions.least)
      limits.connectionsPerMinute = part(limits.connectionsPerMinute, least: LimitOptions.least)
      limits.handshakesPerMinute = part(limits.handshakesPerMinute, least: LimitOptions.least)
      // A single session must not be enough.
      limits.penalty = part(limits.penalty, least: LimitOptions.leastPenalty)
    }
    for text in exempt {
      do throws(NetworkError) {
        limits.exempt.append(try IPNetwork(parsing: text))
      } catch {
        throw .usage("--exempt \(error)")
      }
    }
    return limits
  }

  func greetingWaitMilliseconds() throws(ConfigurationError) -> Int {
    guard (0...60).contains(greetingWait) else {
      throw .usage("--greeting-wait \(greetingWait): give a number of seconds from 0 to 60")
    }
    return greetingWait * 1000
  }

  private func number(_ number: Int, _ name: String) throws(ConfigurationError) -> Int {
    guard (0...1_000_000).contains(number) else {
      throw .usage("\(name) \(number): give a number from 0 to 1000000; 0 means no limit")
    }
    return number
  }
}
