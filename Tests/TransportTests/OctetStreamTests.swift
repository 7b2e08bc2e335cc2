// Pipes, terminals and files: read and written without waiting, whatever the kernel can do, flags untouched.

import Glibc
import Transport
import XCTest

final class OctetStreamTests: XCTestCase {
  private func exercisePipe(fallback: Bool) throws {
    signal(SIGPIPE, SIG_IGN)
    if fallback {
      Kernel.fault = { $0 == .preadv2 || $0 == .pwritev2 ? .error(EOPNOTSUPP) : nil }
    }
    defer { Kernel.fault = nil }
    let pipe = try DescriptorPair.pipe()
    let flags = (try pipe.first.statusFlags(), try pipe.second.statusFlags())
    var reader = try OctetStream(try pipe.first.duplicate())
    var writer = try OctetStream(try pipe.second.duplicate())
    XCTAssertFalse(reader.canPeek)
    var buffer = [UInt8](repeating: 0, count: 16)
    XCTAssertEqual(buffer.withUnsafeMutableBytes { reader.peek(into: $0) }, .failed(SystemError("recv", ENOTSOCK)))
    XCTAssertEqual(buffer.withUnsafeMutableBytes { reader.read(into: $0) }, .wouldBlock)
    XCTAssertEqual(octets("QUIT\r\n").withUnsafeBytes { writer.write($0) }, .moved(6))
    XCTAssertEqual(buffer.withUnsafeMutableBytes { reader.read(into: .init(rebasing: $0[..<1])) }, .moved(1))
    XCTAssertEqual(buffer.withUnsafeMutableBytes { reader.read(into: $0) }, .moved(5))

    let block = [UInt8](repeating: 65, count: 100_000)
    var written = 0
    while case .moved(let moved) = block.withUnsafeBytes({ writer.write($0) }) { written += moved }
    XCTAssertGreaterThan(written, 4096)
    XCTAssertEqual(block.withUnsafeBytes { writer.write($0) }, .wouldBlock)
    XCTAssertEqual(try pipe.first.statusFlags(), flags.0)
    XCTAssertEqual(try pipe.second.statusFlags(), flags.1)
  }

  /// A log on an inherited pipe or terminal never waits, and the description that others share stays as it is.
  func testWritingToWhatWasInherited() throws {
    let pipe = try DescriptorPair.pipe()
    let master = Descriptor(adopting: open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC))
    // TIOCSPTLCK and TIOCGPTN, see ioctl_tty(2).
    var (unlock, index): (CInt, CInt) = (0, 0)
    XCTAssertEqual(ioctl(master.number, 0x4004_5431, &unlock), 0)
    XCTAssertEqual(ioctl(master.number, 0x8004_5430, &index), 0)
    let terminal = Descriptor(adopting: open("/dev/pts/\(index)", O_RDWR | O_NOCTTY | O_CLOEXEC))
    let sockets = try DescriptorPair.sockets()
    for (number, reader) in [
      (pipe.second.number, pipe.first.number), (terminal.number, master.number), (sockets.second.number, sockets.first.number),
    ] {
      let flags = fcntl(number, F_GETFL)
      var stream = try OctetStream.writing(to: number)
      let line = [UInt8](repeating: 65, count: 1000)
      var written = 0
      // A write that waited would hang here.
      while case .moved(let moved) = line.withUnsafeBytes({ stream.write($0) }) { written += moved }
      let more = line.withUnsafeBytes { stream.write($0) }
      XCTAssertEqual(more, .wouldBlock)
      XCTAssertGreaterThan(written, 4000)
      XCTAssertEqual(fcntl(number, F_GETFL), flags)
      var buffer = [UInt8](repeating: 0, count: 100)
      XCTAssertEqual(read(reader, &buffer, 100), 100)
      XCTAssertEqual(buffer, Array(line[..<100]))
    }
  }

  func testPipe() throws { try exercisePipe(fallback: false) }

  func testPipeOnAKernelWithoutNoWait() throws { try exercisePipe(fallback: true) }

  func testTheEndsOfAPipe() throws {
    signal(SIGPIPE, SIG_IGN)
    var reader: CInt = -1
    do {
      let pipe = try DescriptorPair.pipe()
      reader = try pipe.first.duplicate().release()
    }
    var stream = try OctetStream(Descriptor(adopting: reader))
    var buffer = [UInt8](repeating: 0, count: 4)
    XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .ended)

    let other = try DescriptorPair.pipe()
    other.split { reading, writing in
      _ = consume reading
      do {
        var stream = try OctetStream(writing)
        XCTAssertEqual(
          octets("x").withUnsafeBytes { stream.write($0) }, .failed(SystemError("pwritev2", EPIPE)))
      } catch { XCTFail("\(error)") }
    }
  }

  func testTerminal() throws {
    let master = Descriptor(adopting: open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC))
    // TIOCSPTLCK and TIOCGPTN, see ioctl_tty(2): what unlockpt(3) and ptsname(3) do.
    var locked: CInt = 0
    XCTAssertEqual(ioctl(master.number, 0x4004_5431, &locked), 0)
    var index: CUnsignedInt = 0
    XCTAssertEqual(ioctl(master.number, 0x8004_5430, &index), 0)
    let name = "/dev/pts/\(index)"
    let terminal = Descriptor(adopting: open(name, O_RDWR | O_NOCTTY | O_CLOEXEC))
    let flags = try terminal.statusFlags()
    var stream = try OctetStream(try terminal.duplicate())
    XCTAssertEqual(stream.kind, .terminal)
    var buffer = [UInt8](repeating: 0, count: 16)
    XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .wouldBlock)
    XCTAssertEqual(write(master.number, "NOOP\n", 5), 5)
    waitFor(terminal.number, POLLIN)
    XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .moved(5))
    XCTAssertEqual(octets("250 ok").withUnsafeBytes { stream.write($0) }, .moved(6))
    XCTAssertEqual(try terminal.statusFlags(), flags)
  }

  func testFile() throws {
    var stream = try OctetStream(Descriptor(adopting: open("/proc/self/status", O_RDONLY | O_CLOEXEC)))
    var buffer = [UInt8](repeating: 0, count: 5)
    XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .moved(5))
    XCTAssertEqual(buffer, octets("Name:"))
  }
}
