// UCSPITestCase: what all tests of the UCSPI-TLS programs have in common.
//
// The test is the client, and for tlsd-io also the server program: it holds the other ends of all channels. After each
// test every process must be gone and the test must have as many descriptors as before.

import CKernel
import Foundation
import Glibc
import TransportKit
import XCTest

class UCSPITestCase: XCTestCase {
  // Made once, since making them takes longer than most tests.
  nonisolated(unsafe) private static var made: (folder: TestFolder, engine: TLSEngine)?

  /// The test's own folder. XCTest keeps every test to the end, so it is made and removed with each run.
  private(set) var folder: TestFolder!
  private var processes: [ChannelProcess] = []
  private var descriptorsBefore = 0

  override func setUpWithError() throws {
    continueAfterFailure = true
    signal(SIGPIPE, SIG_IGN)
    folder = TestFolder()
    _ = try shared
    DispatchDescriptors.areOpen
    descriptorsBefore = ProcessTable.descriptors(of: getpid()).count
  }

  override func tearDown() {
    for process in processes { process.kill() }
    processes = []
    XCTAssertTrue(
      eventually { ProcessTable.processes(with: marker).isEmpty },
      "left: \(ProcessTable.processes(with: marker).map(ProcessTable.commandLine))")
    // A thread of the test may take a moment to give its own back.
    XCTAssertTrue(
      eventually { ProcessTable.descriptors(of: getpid()).count == descriptorsBefore },
      "descriptors of the test itself: \(ProcessTable.descriptors(of: getpid()).count), \(descriptorsBefore) before")
    folder = nil
  }

  override class func tearDown() { made = nil }

  private var shared: (folder: TestFolder, engine: TLSEngine) {
    get throws {
      if let made = UCSPITestCase.made { return made }
      let made = (folder: TestFolder(), engine: try TLSEngine())
      UCSPITestCase.made = made
      for (name, key) in [("server", "ec"), ("other", "ec"), ("rsa", "rsa")] {
        let kind = key == "ec" ? ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] : ["rsa:2048"]
        try openssl(
          ["req", "-x509", "-newkey"] + kind + [
            "-nodes", "-days", "2", "-subj", "/CN=\(name).example", "-keyout", "\(made.folder.path)/\(name).key", "-out",
            "\(made.folder.path)/\(name).pem",
          ])
      }
      return made
    }
  }

  var engine: TLSEngine { get throws { try shared.engine } }

  /// Every process of this test has it in its environment.
  var marker: String { "UCSPI_TEST=\(folder.path)" }

  /// A file that was made for all tests: `server`, `other` and `rsa`, with `.pem` and `.key`.
  func file(_ name: String) throws -> String { "\(try shared.folder.path)/\(name)" }

  func credentials(_ name: String = "server") throws -> [String: String] {
    ["CERTFILE": try file("\(name).pem"), "KEYFILE": try file("\(name).key")]
  }

  func openssl(_ arguments: [String]) throws {
    let program = try SpawnedProgram(["openssl"] + arguments)
    guard program.wait() == .exited(0) else { throw Failure("openssl \(arguments.joined(separator: " "))") }
  }

  /// Starts a program with the descriptors that are given.
  func start(_ arguments: [String], _ descriptors: [CInt: TestDescriptor], _ environment: [String: String]) throws
    -> ChannelProcess
  {
    let process = try ChannelProcess(
      arguments, descriptors: descriptors.mapValues(\.number),
      environment: environment.merging(["UCSPI_TEST": folder.path]) { given, _ in given },
      log: "\(folder.path)/log.\(processes.count)")
    processes.append(process)
    return process
  }

  /// Octets without a pattern that repeats soon.
  func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
  }
}
