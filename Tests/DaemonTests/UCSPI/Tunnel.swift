// Tunnel: a running tlsd-io with the test on both sides.

import CKernel
import Foundation
import Glibc

/// What the client's connection is made of.
enum Network: CaseIterable {
  /// One socket on 0 and 1, as servers have it.
  case oneSocket
  case twoSockets
  case pipes
  case tcp
  /// TCP whose client takes little unread.
  case narrow

  /// All but the narrow one, which is for one purpose.
  static let allCases: [Network] = [.oneSocket, .twoSockets, .pipes, .tcp]
}

final class Tunnel {
  let process: ChannelProcess
  let peer: TLSPeer
  /// What comes out of TLS.
  let reading: TestDescriptor
  /// What goes into TLS.
  let writing: TestDescriptor
  /// The report; nil where none was asked for.
  let control: TestDescriptor?
  /// The descriptions that the program got as 0 and 1, kept to look at their flags.
  let inherited: [TestDescriptor]

  /// Starts `tlsd-io options... 5 6`, with `-d 7` unless `isReporting` is false.
  ///
  /// - Parameter isOneChannel: whether 5 and 6 are the same socket, instead of two pipes.
  init(
    _ test: UCSPITestCase, _ options: [String] = [], network: Network = .oneSocket, environment: [String: String]? = nil,
    isReporting: Bool = true, nonBlocking: Bool = false, isOneChannel: Bool = false
  ) throws {
    let (input, output, theirInput, theirOutput) = try Tunnel.connection(network)
    let deciphered = TestDescriptor.pipe()
    let clear = TestDescriptor.pipe()
    let report = TestDescriptor.sockets()
    if nonBlocking {
      for one in [theirInput, theirOutput] { _ = fcntl(one.number, F_SETFL, one.flags | O_NONBLOCK) }
    }
    let channel = TestDescriptor.sockets()
    let (fdr, fdw) = isOneChannel ? (channel.1, channel.1) : (clear.reading, deciphered.writing)
    var descriptors = [0: theirInput, 1: theirOutput, 5: fdr, 6: fdw] as [CInt: TestDescriptor]
    if isReporting { descriptors[7] = report.1 }
    process = try test.start(
      [try Programs.path("tlsd-io")] + options + (isReporting ? ["-d", "7"] : []) + ["5", "6"], descriptors,
      environment ?? test.credentials())
    peer = TLSPeer(input, output, try test.engine)
    reading = isOneChannel ? channel.0 : deciphered.reading
    writing = isOneChannel ? channel.0 : clear.writing
    control = isReporting ? report.0 : nil
    inherited = [theirInput, theirOutput]
  }

  /// Closes the test's copies of what the program got: otherwise its end would not be seen.
  func forgetInherited() {
    for one in inherited { one.close() }
  }

  private static func connection(
    _ network: Network
  ) throws -> (input: TestDescriptor, output: TestDescriptor, TestDescriptor, TestDescriptor) {
    switch network {
    case .oneSocket:
      let pair = TestDescriptor.sockets()
      return (pair.0, pair.0, pair.1, TestDescriptor(kernel_duplicate_above(pair.1.number, 3)))
    case .twoSockets:
      let one = TestDescriptor.sockets()
      let two = TestDescriptor.sockets()
      return (one.0, two.0, two.1, one.1)
    case .pipes:
      let toClient = TestDescriptor.pipe()
      let toServer = TestDescriptor.pipe()
      return (toClient.reading, toServer.writing, toServer.reading, toClient.writing)
    case .tcp, .narrow:
      let pair = try TestListener().connection(receiveBuffer: network == .narrow ? 4096 : nil)
      return (pair.0, pair.0, pair.1, TestDescriptor(kernel_duplicate_above(pair.1.number, 3)))
    }
  }
}
