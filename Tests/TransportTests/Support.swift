// Support: what several tests of the transport need.

import CKernel
import Glibc
import Transport
import TransportKit
import XCTest

/// An octet array's contents as raw octets.
func octets(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A socket pair, the first end's status flags as they were at the start.
func withSocketPair(_ body: (borrowing Descriptor, borrowing Descriptor) throws -> Void) throws {
  let pair = try DescriptorPair.sockets()
  try body(pair.first, pair.second)
}

extension Descriptor {
  /// Sends a text whole, or fails the test.
  borrowing func put(_ text: String, file: StaticString = #filePath, line: UInt = #line) {
    let answer = octets(text).withUnsafeBytes { send($0) }
    XCTAssertEqual(answer, .moved(text.utf8.count), file: file, line: line)
  }

  /// Receives what waits, at most `limit` octets, as text; "" when nothing does.
  borrowing func get(_ limit: Int = 4096) -> String {
    var buffer = [UInt8](repeating: 0, count: limit)
    guard case .moved(let moved) = buffer.withUnsafeMutableBytes({ receive(into: $0) }) else { return "" }
    return String(decoding: buffer.prefix(moved), as: UTF8.self)
  }
}

/// Waits until a descriptor is ready for `events`, or ten seconds have passed.
@discardableResult
func waitFor(_ number: CInt, _ events: Int32, milliseconds: CInt = 30_000) -> Bool {
  var entry = pollfd(fd: number, events: CShort(events), revents: 0)
  return poll(&entry, 1, milliseconds) == 1
}

/// The numbers of this process's open descriptors, libdispatch's included.
func openDescriptors() -> Set<Int> {
  DispatchDescriptors.areOpen
  var numbers: Set<Int> = []
  guard let folder = opendir("/proc/self/fd") else { return [] }
  defer { closedir(folder) }
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    if let number = Int(name), number != dirfd(folder) { numbers.insert(number) }
  }
  return numbers
}

/// Runs `body` while the n-th of the calls in question meets a fault. The answer is how many of them were made.
@discardableResult
func withFault(
  _ fault: Kernel.Fault, at position: Int, of calls: Set<Kernel.Call>, _ body: () throws -> Void
) rethrows -> Int {
  var made = 0
  Kernel.fault = { call in
    guard calls.contains(call) else { return nil }
    made += 1
    return made == position ? fault : nil
  }
  defer { Kernel.fault = nil }
  try body()
  return made
}

/// Runs `body` with a fresh folder that is removed afterwards.
func withFolder(_ body: (String) throws -> Void) throws {
  var template = Array("/tmp/transport-tests.XXXXXX".utf8CString)
  let folder = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!).map { String(cString: $0) } }
  let path = try XCTUnwrap(folder)
  defer {
    if let child = try? runProgram(["rm", "-rf", path]) { XCTAssertEqual(child, .exited(0)) }
  }
  try body(path)
}

/// Runs a program to its end; its output is thrown away.
@discardableResult
func runProgram(_ arguments: [String]) throws -> ProcessEnd? {
  let pair = try DescriptorPair.sockets()
  var child = try ChildProcess(arguments, environment: ["PATH=/usr/bin:/bin"], standardStreams: pair.second)
  waitFor(child.descriptor.number, POLLIN)
  return try child.reap()
}
