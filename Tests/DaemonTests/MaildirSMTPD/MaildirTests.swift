// MaildirTests: delivery in this process, with a kernel that fails at chosen calls.

import Foundation
import MaildirSMTPD
import Transport
import XCTest

final class MaildirTests: XCTestCase {
  /// Test cases live until the process ends, their folders must not.
  private var folder: TemporaryFolder! = nil
  private var path: String { folder.path + "/maildir" }

  override func setUp() {
    folder = TemporaryFolder()
  }

  override func tearDown() {
    Kernel.fault = nil
    folder = nil
  }

  private func deliver(_ text: String, to maildir: inout Maildir) throws -> String {
    var delivery = try maildir.begin(expecting: nil)
    do {
      try delivery.write(Array(text.utf8))
    } catch {
      delivery.abandon()
      throw error
    }
    return try delivery.commit()
  }

  func testNamesAreUniqueAndSayWhereAndWhen() throws {
    var maildir = Maildir(path: path, host: "mx.example")
    var names: Set<String> = []
    for _ in 0..<50 { names.insert(try deliver("x", to: &maildir)) }
    XCTAssertEqual(names.count, 50)
    XCTAssertEqual(Set(folder.names(in: "maildir/new")), names)
    let pattern = try Regex("^[0-9]+\\.M[0-9]+P\(getpid())Q[0-9]+R[0-9a-f]{16}\\.mx\\.example$")
    for name in names { XCTAssertNotNil(name.wholeMatch(of: pattern), name) }
  }

  func testNamesOfHostsThatWouldNotDoAsNamesOfFiles() throws {
    var maildir = Maildir(path: path, host: "a/b:c" + String(repeating: "x", count: 300))
    let name = try deliver("x", to: &maildir)
    XCTAssertTrue(name.contains(".a\\057b\\072cxxx"))
    XCTAssertLessThan(name.utf8.count, 200)
  }

  func testFoldersAndFilesArePrivate() throws {
    var maildir = Maildir(path: path, host: "h")
    let name = try deliver("x", to: &maildir)
    func mode(_ path: String) throws -> Int? {
      try FileManager.default.attributesOfItem(atPath: folder.path + "/" + path)[.posixPermissions] as? Int
    }
    for made in ["maildir", "maildir/tmp", "maildir/new", "maildir/cur"] { XCTAssertEqual(try mode(made), 0o700) }
    XCTAssertEqual(try mode("maildir/new/" + name), 0o600)
  }

  func testAnAbandonedMessageLeavesNothing() throws {
    var maildir = Maildir(path: path, host: "h")
    var delivery = try maildir.begin(expecting: 5)
    try delivery.write(Array("x".utf8))
    XCTAssertEqual(folder.names(in: "maildir/tmp"), [delivery.name])
    delivery.abandon()
    XCTAssertEqual(folder.names(in: "maildir/tmp") + folder.names(in: "maildir/new"), [])
  }

  func testMoreThanTheDiskHoldsIsRefusedAtOnce() throws {
    var maildir = Maildir(path: path, host: "h")
    do {
      try maildir.begin(expecting: .max).abandon()
      XCTFail("begun")
    } catch {
      XCTAssertEqual(error.code, ENOSPC)
    }
    XCTAssertEqual(folder.names(in: "maildir/tmp"), [])
  }

  /// Each call in turn fails with each errno: the error comes out, and no file is left, neither in `tmp` nor in `new`.
  func testEveryCallFailsInTurn() throws {
    for code in [ENOSPC, EDQUOT, EIO, EROFS, EACCES] {
      var failed: [Kernel.Call] = []
      for number in 1... {
        var maildir = Maildir(path: path, host: "h")
        try? FileManager.default.removeItem(atPath: path)
        var count = 0
        var hit: Kernel.Call?
        Kernel.fault = { call in
          count += 1
          guard count == number else { return nil }
          hit = call
          return .error(code)
        }
        let outcome = Result { try deliver("text", to: &maildir) }
        Kernel.fault = nil
        guard let hit else { break }
        failed.append(hit)
        XCTAssertThrowsError(try outcome.get(), "\(hit) number \(number)") {
          let error = $0 as? SystemError ?? ($0 as? DeliveryError)?.cause
          XCTAssertEqual(error?.code, code)
          XCTAssertEqual(error?.call.split(separator: " ").first.map(String.init), hit.rawValue)
        }
        XCTAssertEqual(folder.names(in: "maildir/tmp") + folder.names(in: "maildir/new"), [], "\(hit) number \(number)")
      }
      XCTAssertEqual(
        failed,
        [
          .open, .fsync, .mkdir, .fsync, .open, .fsync, .mkdir, .mkdir, .mkdir, .fsync, .open, .open, .write, .fsync, .rename, .fsync,
        ])
    }
  }

  /// The client of a refused message sends it again: a file of it in `new` is named.
  func testARefusedMessageThatCannotBeRemovedIsNamed() throws {
    var maildir = Maildir(path: path, host: "h")
    _ = try deliver("first", to: &maildir)
    let delivery = try maildir.begin(expecting: nil)
    let file = path + "/new/" + delivery.name
    var synchronised = 0
    Kernel.fault = { call in
      switch call {
      case .fsync:
        synchronised += 1
        return synchronised == 2 ? .error(EIO) : nil
      case .unlink: return .error(EROFS)
      default: return nil
      }
    }
    do throws(DeliveryError) {
      _ = try delivery.commit()
      XCTFail("delivered")
    } catch {
      XCTAssertEqual(error.cause, SystemError("fsync", EIO))
      XCTAssertEqual(error.remaining?.path, file)
      XCTAssertEqual(error.remaining?.cause, SystemError("unlink", EROFS))
    }
    Kernel.fault = nil
    XCTAssertTrue(FileManager.default.fileExists(atPath: file))
  }

  /// Whoever has created the folders may have ended before it synchronised them: the next delivery does it.
  func testFoldersOfAFailedDeliveryAreSynchronised() throws {
    for failing in 1...4 {
      try? FileManager.default.removeItem(atPath: path)
      var maildir = Maildir(path: path, host: "h")
      var count = 0
      Kernel.fault = { call in
        count += call == .fsync ? 1 : 0
        return call == .fsync && count == failing ? .error(EIO) : nil
      }
      XCTAssertThrowsError(try deliver("x", to: &maildir))
      var other = Maildir(path: path, host: "h")
      var calls: [Kernel.Call] = []
      Kernel.fault = { call in
        calls.append(call)
        return nil
      }
      _ = try deliver("x", to: &other)
      XCTAssertGreaterThanOrEqual(calls.filter { $0 == .fsync }.count, 4, "the parent, the Maildir, the message, and `new`")
      calls = []
      _ = try deliver("x", to: &other)
      Kernel.fault = nil
      XCTAssertEqual(calls, [.open, .open, .write, .fsync, .rename, .fsync], "the second one of a session does not repeat it")
    }
  }

  /// A Maildir that somebody else has prepared, in a folder that this user may enter and not read, or that cannot be synchronised.
  func testAFolderThatMayNotBeReadIsNotSynchronised() throws {
    var maildir = Maildir(path: path, host: "h")
    _ = try deliver("x", to: &maildir)
    for (failing, code) in [(Kernel.Call.open, EACCES), (.fsync, EINVAL)] {
      for hidden in 1...2 {
        var other = Maildir(path: path, host: "h")
        var count = 0
        Kernel.fault = { call in
          count += call == failing ? 1 : 0
          return call == failing && count == hidden ? .error(code) : nil
        }
        XCTAssertNoThrow(try deliver("x", to: &other))
        Kernel.fault = nil
      }
    }
  }

  /// Nothing is created in a folder that cannot be synchronised: the next message would find it, and be accepted.
  func testNothingIsCreatedInAFolderThatCannotBeSynchronised() throws {
    for (failing, code) in [(Kernel.Call.open, EACCES), (.fsync, EINVAL)] {
      // The parent, then the Maildir itself.
      for (number, hidden) in [(1, folder.path), (2, path)] {
        if hidden == path { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
        let content = folder.names(in: "").sorted()
        var maildir = Maildir(path: path, host: "h")
        for _ in 1...2 {
          var count = 0
          Kernel.fault = { call in
            count += call == failing ? 1 : 0
            return call == failing && count == number ? .error(code) : nil
          }
          XCTAssertThrowsError(try deliver("x", to: &maildir)) {
            XCTAssertEqual($0 as? SystemError, SystemError("\(failing.rawValue) \(hidden)", code))
          }
          Kernel.fault = nil
          XCTAssertEqual(folder.names(in: "").sorted(), content)
          XCTAssertEqual(folder.names(in: "maildir"), [])
        }
      }
      try FileManager.default.removeItem(atPath: path)
    }
  }

  func testShortWritesAndInterruptions() throws {
    var maildir = Maildir(path: path, host: "h")
    var count = 0
    Kernel.fault = { _ in
      count += 1
      return count % 2 == 0 ? .error(EINTR) : .short(1)
    }
    let name = try deliver("text that takes many calls", to: &maildir)
    Kernel.fault = nil
    XCTAssertEqual(folder.contents("maildir/new/" + name), Array("text that takes many calls".utf8))
  }

  func testRelativeAndOddPaths() throws {
    let start = FileManager.default.currentDirectoryPath
    defer { XCTAssertTrue(FileManager.default.changeCurrentDirectoryPath(start)) }
    XCTAssertTrue(FileManager.default.changeCurrentDirectoryPath(folder.path))
    for path in ["plain", "./dotted", "slashed//", "plain/inside/"] {
      var maildir = Maildir(path: path, host: "h")
      let name = try deliver("x", to: &maildir)
      XCTAssertEqual(folder.names(in: path + "/new"), [name])
    }
  }
}
