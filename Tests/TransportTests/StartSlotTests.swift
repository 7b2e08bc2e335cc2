// A start costs the same however many descriptors are open: the child has a table of descriptors for those that it gets.

import CKernel
import Glibc
@testable import Transport
import XCTest

final class StartSlotTests: XCTestCase {
  /// Far more than the smallest table holds.
  private static let many = 1_500

  private let limit = try! OpenFilesLimit.current()

  override func tearDownWithError() throws { try limit.set() }

  /// Descriptors of /dev/null, of which the highest number is at least `many`.
  private func manyDescriptors() throws -> [CInt] {
    let limit = try OpenFilesLimit.current()
    let needed = UInt(StartSlotTests.many + 200)
    try XCTSkipUnless(limit.hard >= needed, "the hard limit of descriptors is \(limit.hard)")
    if limit.soft < needed { try OpenFilesLimit(soft: needed, hard: limit.hard).set() }
    return try (0..<StartSlotTests.many).map { _ in try Kernel.open("/dev/null", O_RDWR) }
  }

  /// What the child writes, and its end.
  private func output(
    _ script: String, limit: OpenFilesLimit? = nil, setting: ProgramSetting = ProgramSetting(), through slot: StartSlot? = nil
  ) throws -> String {
    let pair = try DescriptorPair.sockets()
    var child = try ChildProcess(
      ["sh", "-c", script], environment: ["PATH=/usr/bin:/bin"], standardStreams: pair.second, limit: limit, setting: setting, through: slot)
    XCTAssertTrue(waitFor(child.descriptor.number, POLLIN))
    XCTAssertEqual(try child.reap(), .exited(0))
    return pair.first.get()
  }

  private static let tableSize = "sed -n 's/^FDSize://p' /proc/self/status"

  func testTheTableOfAChildIsSmall() throws {
    let slot = try StartSlot()
    let open = try manyDescriptors()
    defer { for number in open { Kernel.close(number) } }
    for setting in [ProgramSetting(), ProgramSetting(memory: 1 << 30)] {
      let text = try output(StartSlotTests.tableSize, setting: setting, through: slot)
      let size = try XCTUnwrap(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
      XCTAssertLessThanOrEqual(size, 256)
    }
  }

  /// Descriptors 0, 1 and 2 alone, through the slot or not, and the end of the connection with the child.
  func testTheConnectionThroughTheSlot() throws {
    let before = openDescriptors()
    do {
      let slot = try StartSlot()
      let open = try manyDescriptors()
      defer { for number in open { Kernel.close(number) } }
      XCTAssertEqual(try output("exec ls /proc/self/fd", through: slot), "0\n1\n2\n3\n")
      XCTAssertEqual(try output("exec ls /proc/self/fd"), "0\n1\n2\n3\n")
      let pair = try DescriptorPair.sockets()
      let child = try ChildProcess(["sleep", "60"], environment: [], standardStreams: pair.second, through: slot)
      let ours = pair.takeFirst()
      try child.signal(SIGKILL)
      XCTAssertTrue(waitFor(ours.number, POLLIN))
      var octet: UInt8 = 0
      XCTAssertEqual(withUnsafeMutableBytes(of: &octet) { ours.receive(into: $0) }, .ended)
      // What the program's start fails with.
      let other = try DescriptorPair.sockets()
      XCTAssertThrowsError(
        try { _ = try ChildProcess(["/nowhere"], environment: [], standardStreams: other.second, through: slot) }()
      ) { XCTAssertEqual($0 as? SystemError, SystemError("execve", ENOENT)) }
      let mine = other.takeFirst()
      XCTAssertEqual(withUnsafeMutableBytes(of: &octet) { mine.receive(into: $0) }, .ended)
    }
    XCTAssertEqual(openDescriptors(), before)
  }

  /// The parent's descriptors, handlers and mask are as before.
  func testTheParentKeepsWhatItHas() throws {
    let open = try manyDescriptors()
    defer { for number in open { Kernel.close(number) } }
    let descriptors = openDescriptors()
    signal(SIGUSR2, SIG_IGN)
    defer { signal(SIGUSR2, SIG_DFL) }
    func signals() throws -> [Substring] {
      try String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8).split(separator: "\n").filter { $0.hasPrefix("Sig") && !$0.hasPrefix("SigQ") }
    }
    let known = try signals()
    _ = try output("exit 0")
    XCTAssertThrowsError(try ProgramStart(["/nowhere"], [], nil, ProgramSetting()).spawn(open[0]))
    XCTAssertEqual(try signals(), known)
    XCTAssertEqual(openDescriptors(), descriptors)
  }

  /// Where the kernel refuses to share, posix_spawn starts the program.
  func testTheOtherWay() throws {
    let limit = OpenFilesLimit(soft: 100, hard: self.limit.hard)
    try withFault(.error(ENOSYS), at: 1, of: [.execve]) {
      XCTAssertEqual(try output("ls /proc/self/fd; ulimit -n", limit: limit), "0\n1\n2\n3\n100\n")
    }
    try withFault(.error(ENOSYS), at: 1, of: [.execve]) {
      XCTAssertThrowsError(try output("exit 0", setting: ProgramSetting(memory: 1 << 30)))
    }
    XCTAssertEqual(waitpid(-1, nil, WNOHANG), -1, "no child is left")
  }

  /// The search in PATH, as execvp(3) has it.
  func testTheSearch() throws {
    let folder = NSTemporaryDirectory() + "search-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    // A file that is no program: the search goes on, and its error is the one that counts.
    _ = FileManager.default.createFile(atPath: folder + "/sh", contents: nil, attributes: [.posixPermissions: 0o600])
    _ = FileManager.default.createFile(atPath: folder + "/not-a-program", contents: nil, attributes: [.posixPermissions: 0o600])
    let old = ProcessEnvironment.value("PATH") ?? ""
    setenv("PATH", "\(folder)/nowhere:\(folder):\(old)", 1)
    defer { setenv("PATH", old, 1) }
    XCTAssertEqual(try output("echo found"), "found\n")
    let pair = try DescriptorPair.sockets()
    XCTAssertThrowsError(
      try { _ = try ChildProcess(["not-a-program"], environment: [], standardStreams: pair.first) }()
    ) { XCTAssertEqual($0 as? SystemError, SystemError("execve", EACCES)) }
  }

  /// A limit above that of this process is no reason to start nothing.
  func testAHardLimitThatIsNotPossible() throws {
    let own = try OpenFilesLimit.current()
    let high = OpenFilesLimit(soft: 90, hard: .max)
    XCTAssertEqual(try output("ulimit -Sn; ulimit -Hn", limit: high), "90\n\(own.hard)\n")
  }
}
