// RecordOptions: the options for recordings of sessions. Failure: a ConfigurationError.

import ArgumentParser
import ClientAccess
import SessionRecording
import Transport

struct RecordOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Write recordings of sessions into this folder, for starttls-replay: those that end badly, unless another choice is made.",
      valueName: "folder"))
  var record: String?

  @Option(help: ArgumentHelp("Record this share of all sessions, for example 1/100.", valueName: "share"))
  var recordShare: String?

  @Option(help: ArgumentHelp("Record all sessions of this network or address; may be repeated.", valueName: "network"))
  var recordAddress: [String] = []

  @Flag(help: "Record sessions that end badly, in addition to the others.")
  var recordFailures = false

  @Option(help: ArgumentHelp("Maximum number of files in the folder; the oldest are removed.", valueName: "number"))
  var recordLimit = 1000

  @Option(help: ArgumentHelp("Maximum size of the recording of one session, in KiB.", valueName: "number"))
  var recordSize = 64

  @Flag(help: "Keep the client's address and its EHLO name in recordings.")
  var recordClient = false

  @Flag(help: "Keep the addresses of MAIL and RCPT in recordings.")
  var recordMailAddresses = false

  /// The checked settings; nil without --record. Workers share the folder, and each has a part of the other limits.
  ///
  /// - Parameter isSingle: true for a process that serves one client.
  func settings(_ worker: WorkerRole?, isSingle: Bool) throws(ConfigurationError) -> RecordSettings? {
    guard let record else {
      guard recordShare == nil, recordAddress.isEmpty, !recordFailures, !recordClient, !recordMailAddresses else {
        throw .usage("--record-share and the like need --record: name a folder")
      }
      return nil
    }
    guard (1...1_000_000).contains(recordLimit) else { throw .usage("--record-limit \(recordLimit): give a number from 1 to 1000000") }
    guard (1...1024).contains(recordSize) else { throw .usage("--record-size \(recordSize): give a number of KiB from 1 to 1024") }
    var networks: [IPNetwork] = []
    for text in recordAddress {
      do throws(NetworkError) {
        networks.append(try IPNetwork(parsing: text))
      } catch {
        throw .usage("--record-address \(error)")
      }
    }
    return RecordSettings(
      folder: record, share: try share(), networks: networks, hasFailures: recordFailures || recordShare == nil && networks.isEmpty,
      filesLimit: recordLimit, sizeLimit: recordSize << 10,
      redaction: Redaction(keepsMailAddresses: recordMailAddresses, keepsClientName: recordClient), keepsAddress: recordClient,
      isShared: worker != nil || isSingle, isSingle: isSingle, memoryLimit: worker?.part(of: RecordSettings.memoryLimit) ?? RecordSettings.memoryLimit,
      failuresLimit: worker?.part(of: RecordSettings.failuresLimit) ?? RecordSettings.failuresLimit)
  }

  private func share() throws(ConfigurationError) -> RecordSettings.Share? {
    guard let recordShare else { return nil }
    let numbers = recordShare.split(separator: "/", omittingEmptySubsequences: false).map { UInt32($0) }
    guard numbers.count == 2, let part = numbers[0], let all = numbers[1], part > 0, part <= all, all <= 1_000_000 else {
      throw .usage("--record-share \(recordShare): give two numbers up to 1000000, such as 1/100")
    }
    return RecordSettings.Share(part: part, all: all)
  }
}

/// Which sessions are recorded, where, and how much of them.
struct RecordSettings: Sendable {
  struct Share: Sendable {
    let part: UInt32
    let all: UInt32
  }

  /// The most octets that the recordings of running sessions take, in all workers.
  static let memoryLimit = 32 << 20
  /// The most sessions a minute that are recorded because they ended badly, in all workers: a stranger who fails again and again
  /// does not replace all older files at once.
  static let failuresLimit = 60

  let folder: String
  let share: Share?
  let networks: [IPNetwork]
  let hasFailures: Bool
  let filesLimit: Int
  let sizeLimit: Int
  let redaction: Redaction
  let keepsAddress: Bool
  /// Other processes write into the folder, too.
  let isShared: Bool
  /// This process serves one client (--inetd), so it cannot count the failures of a minute: the files of the folder are counted.
  let isSingle: Bool
  /// The parts of this process.
  let memoryLimit: Int
  let failuresLimit: Int
}
