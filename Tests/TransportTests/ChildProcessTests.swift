// A child gets descriptors 0, 1 and 2 and nothing else, and neither a process nor a zombie outlives its owner.

import Glibc
import Transport
import XCTest

final class ChildProcessTests: XCTestCase {
  private func output(
    _ script: String, environment: [String] = ["PATH=/usr/bin:/bin"], limit: OpenFilesLimit? = nil,
    setting: ProgramSetting = ProgramSetting()
  ) throws -> String {
    let pair = try DescriptorPair.sockets()
    var child = try ChildProcess(
      ["/bin/sh", "-c", script], environment: environment, standardStreams: pair.second, limit: limit, setting: setting)
    XCTAssertTrue(waitFor(child.descriptor.number, POLLIN))
    XCTAssertEqual(try child.reap(), .exited(0))
    return pair.first.get()
  }

  /// Whether a process exists, as a zombie at least.
  private func exists(_ process: CInt) -> Bool { kill(process, 0) == 0 }

  func testNothingLeaksIntoTheChild() throws {
    let leak = open("/dev/null", O_RDONLY)
    defer { close(leak) }
    XCTAssertGreaterThan(leak, 2)
    // ls opens the folder itself, with the lowest free number.
    XCTAssertEqual(try output("exec ls /proc/self/fd"), "0\n1\n2\n3\n")
  }

  func testTheEnvironmentIsExactlyTheGivenOne() throws {
    XCTAssertEqual(try output("/usr/bin/env | /bin/grep -c ^PROTO=", environment: ["PROTO=TCP"]), "1\n")
    XCTAssertEqual(try output("echo $HOME", environment: ["A=b"]), "\n")
  }

  func testNoSignalIsBlockedOrIgnored() throws {
    signal(SIGPIPE, SIG_IGN)
    var mask = sigset_t()
    var old = sigset_t()
    sigemptyset(&mask)
    sigaddset(&mask, SIGTERM)
    pthread_sigmask(SIG_BLOCK, &mask, &old)
    defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
    let lines = try output("/bin/grep -E '^Sig(Blk|Ign)' /proc/self/status")
    // 32 and 33 belong to the C library, whose posix_spawn leaves them ignored.
    XCTAssertEqual(lines.replacing("180000000", with: "000000000"), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")
  }

  /// The other way to start a program: the same contract, and the limits.
  func testAProgramWithLimitsOfItsOwn() throws {
    let setting = ProgramSetting(user: geteuid(), memory: 1 << 30, processes: 20_000)
    let leak = open("/dev/null", O_RDONLY)
    defer { close(leak) }
    signal(SIGPIPE, SIG_IGN)
    XCTAssertEqual(try output("exec /bin/ls /proc/self/fd", setting: setting), "0\n1\n2\n3\n")
    XCTAssertEqual(try output("/usr/bin/env", environment: ["A=b"], setting: setting).contains("A=b\n"), true)
    // 32 and 33 belong to the C library, which may ignore them.
    let masks = try output("/bin/grep -E '^Sig(Blk|Ign)' /proc/self/status", setting: setting).split(whereSeparator: \.isWhitespace)
    XCTAssertEqual(masks.compactMap { UInt64($0, radix: 16).map { $0 & ~0x1_8000_0000 } }, [0, 0], "\(masks)")
    let limit = OpenFilesLimit(soft: 100, hard: try OpenFilesLimit.current().hard)
    XCTAssertEqual(
      try output("ulimit -d; ulimit -p; ulimit -n", limit: limit, setting: setting), "1048576\n20000\n100\n")
    // Process, group and session are the same number.
    let numbers = try output("/usr/bin/cut -d' ' -f1,5,6 /proc/$$/stat", setting: setting).split(whereSeparator: \.isWhitespace)
    XCTAssertEqual(Set(numbers).count, 1, "\(numbers)")
    for (program, code) in [("/nowhere/program", ENOENT), ("/etc/passwd", EACCES), ("/", EACCES)] {
      let pair = try DescriptorPair.sockets()
      do {
        _ = try ChildProcess([program], environment: [], standardStreams: pair.second, limit: nil, setting: setting)
        XCTFail("\(program) was started")
      } catch {
        XCTAssertEqual(error, SystemError("execve", code))
      }
    }
    XCTAssertEqual(waitpid(-1, nil, WNOHANG), -1, "no child is left")
  }

  func testBothDirectionsOfOneSocket() throws {
    let pair = try DescriptorPair.sockets()
    pair.split { ours, theirs in
      do {
        var child = try ChildProcess(["cat"], environment: [], standardStreams: theirs)
        _ = consume theirs
        ours.put("echo")
        waitFor(ours.number, POLLIN)
        XCTAssertEqual(ours.get(), "echo")
        XCTAssertFalse(try ours.isNonBlocking())
        try ours.shutdownSending()
        waitFor(child.descriptor.number, POLLIN)
        XCTAssertEqual(try child.reap(), .exited(0))
        XCTAssertEqual(try child.reap(), .exited(0), "asked again")
        try child.signal(SIGTERM)
      } catch { XCTFail("\(error)") }
    }
  }

  func testAProgramThatIsNotThereIsAnError() throws {
    let pair = try DescriptorPair.sockets()
    for program in ["/nowhere/program", "no-such-program-anywhere"] {
      do {
        _ = try ChildProcess([program], environment: [], standardStreams: pair.first)
        XCTFail("no error")
      } catch {
        XCTAssertEqual(error, SystemError("execve", ENOENT))
      }
    }
    for arguments in [[], [""], ["sh", "a\0b"]] {
      do {
        _ = try ChildProcess(arguments, environment: [], standardStreams: pair.first)
        XCTFail("no error")
      } catch {
        XCTAssertEqual(error, SystemError("execve", EINVAL))
      }
    }
  }

  func testSignals() throws {
    let pair = try DescriptorPair.sockets()
    var child = try ChildProcess(["sleep", "60"], environment: [], standardStreams: pair.first)
    XCTAssertNil(try child.reap())
    try child.signal(SIGTERM)
    waitFor(child.descriptor.number, POLLIN)
    XCTAssertEqual(try child.reap(), .signalled(SIGTERM))
  }

  /// A session of its own: neither a terminal's signals reach it, nor ours to our own group.
  func testTheChildLeadsASessionOfItsOwn() throws {
    XCTAssertEqual(try output("set -- $(cut -d' ' -f1,5,6 /proc/$$/stat); [ $1 = $2 ] && [ $1 = $3 ] && echo yes"), "yes\n")
  }

  func testTheChildsLimitOfDescriptors() throws {
    let own = try OpenFilesLimit.current()
    var limit = own
    limit.soft = own.soft - 7
    let pair = try DescriptorPair.sockets()
    var child = try ChildProcess(
      ["sh", "-c", "ulimit -Sn; ulimit -Hn"], environment: ["PATH=/usr/bin:/bin"], standardStreams: pair.second, limit: limit)
    XCTAssertTrue(waitFor(child.descriptor.number, POLLIN))
    XCTAssertEqual(try child.reap(), .exited(0))
    XCTAssertEqual(pair.first.get(), "\(own.soft - 7)\n\(own.hard)\n")
    XCTAssertEqual(try OpenFilesLimit.current(), own)
    // Also when nothing was started.
    XCTAssertThrowsError(
      try { _ = try ChildProcess(["/nowhere/program"], environment: [], standardStreams: pair.first, limit: limit) }())
    XCTAssertEqual(try OpenFilesLimit.current(), own)
  }

  /// What the child has started is reached, by signals and by the end of its owner.
  func testTheGroup() throws {
    let script = "(trap '' TERM; echo ready; exec sleep 60) & wait"
    for isOwnerGone in [false, true] {
      let pair = try DescriptorPair.sockets()
      do {
        var child = try ChildProcess(["sh", "-c", script], environment: ["PATH=/usr/bin:/bin"], standardStreams: pair.second)
        waitFor(pair.first.number, POLLIN)
        XCTAssertEqual(pair.first.get(), "ready\n")
        XCTAssertFalse(child.hasEnded())
        if !isOwnerGone {
          try child.signalGroup(SIGTERM)
          XCTAssertTrue(waitFor(child.descriptor.number, POLLIN))
          XCTAssertTrue(child.hasEnded())
          try child.signalGroup(SIGKILL)
          XCTAssertEqual(try child.reap(), .signalled(SIGTERM))
          try child.signalGroup(SIGKILL)
        }
      }
      // The last one that holds the other end is gone.
      let peer = pair.takeFirst()
      XCTAssertTrue(waitFor(peer.number, POLLIN))
      var octet: UInt8 = 0
      XCTAssertEqual(withUnsafeMutableBytes(of: &octet) { peer.receive(into: $0) }, .ended)
    }
  }

  func testNoProcessAndNoDescriptorIsLeftBehind() throws {
    let before = openDescriptors()
    var process: CInt = 0
    do {
      let pair = try DescriptorPair.sockets()
      let child = try ChildProcess(["sleep", "60"], environment: [], standardStreams: pair.second)
      process = child.process
      XCTAssertTrue(exists(process))
    }
    XCTAssertFalse(exists(process))
    // A child whose descriptor cannot be made, in either way to start one.
    let pair = try DescriptorPair.sockets()
    for call in [Kernel.Call.execve, .pidfd_open] {
      var isFirst = true
      Kernel.fault = { made in
        // The first way is not possible.
        if made == .execve, call != .execve, isFirst { isFirst = false; return .error(ENOSYS) }
        return made == call ? .error(EMFILE) : nil
      }
      defer { Kernel.fault = nil }
      do {
        _ = try ChildProcess(["sleep", "60"], environment: [], standardStreams: pair.second)
        XCTFail("no error")
      } catch {
        XCTAssertEqual(error, SystemError(call.rawValue, EMFILE))
      }
    }
    _ = consume pair
    XCTAssertEqual(waitpid(-1, nil, WNOHANG), -1, "no child is left")
    XCTAssertEqual(openDescriptors(), before)
  }
}
