// ChainSession: a running ucspi-tlsd with a shell script as the server program, and its helper.

import CKernel
import Foundation
import Glibc
import XCTest

/// One connection.
struct ChainSession {
  let process: ChannelProcess
  let peer: TLSPeer
  /// The helper, as long as it waits or works.
  let helper: pid_t
}

extension UCSPITestCase {
  /// Executes `ucspi-tlsd options... /bin/sh -c script`.
  ///
  /// - Parameters:
  ///   - sockets: the client's and the server's end; a pair of sockets if none are given. The latter is closed here.
  func session(
    _ script: String, _ options: [String] = [], _ environment: [String: String]? = nil,
    sockets: (client: TestDescriptor, server: TestDescriptor)? = nil
  ) throws -> ChainSession {
    let (client, server) = sockets ?? TestDescriptor.sockets()
    var variables = try environment ?? credentials()
    variables["FOLDER"] = folder.path
    let before = Set(ProcessTable.children(of: getpid()))
    let process = try start(
      [try Programs.path("ucspi-tlsd")] + options + ["/bin/sh", "-c", script], [0: server, 1: server], variables)
    server.close()
    var helper: pid_t = 0
    _ = eventually {
      // Asked first: when the program has ended, its helper was started before.
      let isRunning = process.isRunning
      helper = ProcessTable.children(of: getpid()).first { !before.contains($0) && $0 != process.process } ?? 0
      return helper != 0 || !isRunning
    }
    return ChainSession(process: process, peer: TLSPeer(client, client, try engine), helper: helper)
  }

  /// The session's processes are gone; the helper's zombie too.
  func forget(_ session: ChainSession) {
    _ = exitCode(of: session.helper)
  }

  /// Waits for a helper and reaps it: its exit code, -1 when a signal ended it, nil when it does not end.
  func exitCode(of helper: pid_t) -> CInt? {
    guard helper > 0 else { return nil }
    var status: CInt = 0
    guard eventually({ waitpid(helper, &status, WNOHANG) != 0 }) else { return nil }
    return kernel_WIFEXITED(status) ? kernel_WEXITSTATUS(status) : -1
  }

  /// A variable of another process's environment; empty where it has none.
  func value(_ name: String, of process: pid_t) -> String {
    let entry = ProcessTable.environment(of: process).first { $0.hasPrefix("\(name)=") }
    return entry.map { String($0.dropFirst(name.count + 1)) } ?? ""
  }

  /// Whether orphans of the test's processes become its children (PR_SET_CHILD_SUBREAPER), so that it can wait for them.
  func adoptOrphans(_ on: Bool) {
    // prctl takes a variable number of arguments, which Swift does not call.
    typealias Call = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
    guard let symbol = dlsym(nil, "prctl") else { return XCTFail("no prctl") }
    XCTAssertEqual(unsafeBitCast(symbol, to: Call.self)(36, on ? 1 : 0, 0, 0, 0), 0)
  }
}
