// A fault of a certificate is found at load and reported so that the operator knows what to do.

import Dispatch
import Glibc
import Synchronization
import Transport
import TransportTLS
import XCTest

final class TLSCredentialsTests: XCTestCase {
  private func put(_ text: String, _ path: String, mode: mode_t = 0o600) {
    let file = Descriptor(adopting: open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode))
    XCTAssertEqual(write(file.number, text, text.utf8.count), text.utf8.count)
  }

  private func mode(_ path: String) -> mode_t {
    var information = stat()
    XCTAssertEqual(stat(path, &information), 0, path)
    return information.st_mode & 0o7777
  }

  private func inode(_ path: String) -> UInt64 {
    var information = stat()
    XCTAssertEqual(stat(path, &information), 0, path)
    return UInt64(information.st_ino)
  }

  private func refusal(_ pairs: [TLSCredentials.Pair]) -> TLSCredentialsError? {
    do {
      _ = try TLSCredentials(pairs)
      return nil
    } catch {
      return error
    }
  }

  func testRefusals() throws {
    try withFolder { folder in
      let good = try SelfSigned.pair(in: "\(folder)/a", names: ["localhost"])
      let other = try SelfSigned.pair(in: "\(folder)/b", names: ["localhost"])
      let expired = try SelfSigned.pair(in: "\(folder)/c", names: ["localhost"], validDays: -1)
      put("hello\n", "\(folder)/text")
      let text = "\(folder)/text"
      let missing = "\(folder)/missing"

      XCTAssertNil(refusal([good]))
      XCTAssertEqual(refusal([]), .noCertificate)
      XCTAssertEqual(
        refusal([.init(certificate: missing, key: good.key)]), .unreadable(path: missing, SystemError("open", ENOENT)))
      XCTAssertEqual(
        refusal([.init(certificate: folder, key: good.key)]), .unreadable(path: folder, SystemError("read", EISDIR)))
      XCTAssertEqual(
        refusal([good, .init(certificate: other.certificate, key: good.key)]),
        .mismatch(certificate: other.certificate, key: good.key))
      guard case .badCertificate(text, _) = refusal([.init(certificate: text, key: good.key)]) else {
        return XCTFail("bad certificate")
      }
      guard case .badKey(text, _) = refusal([.init(certificate: good.certificate, key: text)]) else {
        return XCTFail("bad key")
      }
      guard case .expired(expired.certificate, _) = refusal([expired]) else { return XCTFail("expired") }
      XCTAssertTrue(
        try XCTUnwrap(refusal([.init(certificate: good.certificate, key: missing)])).description
          .hasPrefix("\(missing): open: No such file or directory: check"))
    }
  }

  /// The certificate would not be verified in a resumed session.
  func testTicketsWithClientCertificates() throws {
    try withFolder { folder in
      let pair = try SelfSigned.pair(in: folder, names: ["localhost"])
      for request in [ClientCertificates.Request.optional, .reported, .required] {
        let clients = ClientCertificates(request, trust: .file(pair.certificate))
        XCTAssertNoThrow(try TLSCredentials([pair], clients: clients))
        XCTAssertThrowsError(try TLSCredentials([pair], clients: clients, tickets: .on)) {
          XCTAssertEqual($0 as? TLSCredentialsError, .ticketsWithClientCertificates)
        }
      }
      XCTAssertNoThrow(try TLSCredentials([pair], tickets: .on))
    }
  }

  /// What is no PEM is read as DER, and as nothing else.
  func testRefusalsOfDER() throws {
    try withFolder { folder in
      let pair = try SelfSigned.pair(in: "\(folder)/tls", names: ["localhost"])
      let (certificate, key, empty) = ("\(folder)/certificate.der", "\(folder)/key.der", "\(folder)/empty")
      put("", empty)
      for arguments in [
        ["x509", "-in", pair.certificate, "-outform", "DER", "-out", certificate],
        ["ec", "-in", pair.key, "-outform", "DER", "-out", key],
        ["pkcs8", "-topk8", "-in", pair.key, "-passout", "pass:x", "-outform", "DER", "-out", "\(folder)/sealed.der"],
      ] { XCTAssertEqual(try runProgram(["openssl"] + arguments), .exited(0)) }
      for name in ["certificate", "key"] {
        XCTAssertEqual(try runProgram(["sh", "-c", "head -c 60 \(folder)/\(name).der > \(folder)/\(name).cut"]), .exited(0))
      }
      XCTAssertNil(refusal([.init(certificate: certificate, key: key)]))
      for bad in ["\(folder)/certificate.cut", empty, key] {
        guard case .badCertificate(bad, _) = refusal([.init(certificate: bad, key: key)]) else {
          return XCTFail("a certificate: \(bad)")
        }
      }
      for bad in ["\(folder)/key.cut", "\(folder)/sealed.der", empty, certificate] {
        guard case .badKey(bad, _) = refusal([.init(certificate: certificate, key: bad)]) else {
          return XCTFail("a key: \(bad)")
        }
      }
    }
  }

  func testSelfSignedIsMadeOnceAndUsedAgain() throws {
    try withFolder { folder in
      let names = ["mail.example", "localhost"]
      let pair = try SelfSigned.pair(in: "\(folder)/tls", names: names)
      XCTAssertEqual(mode("\(folder)/tls"), 0o700)
      XCTAssertEqual(mode(pair.key), 0o600)
      XCTAssertEqual(mode(pair.certificate), 0o644)
      let first = inode(pair.key)
      XCTAssertEqual(try SelfSigned.pair(in: "\(folder)/tls", names: names), pair)
      XCTAssertEqual(inode(pair.key), first, "used again")
      let credentials = try TLSCredentials([pair])
      XCTAssertEqual(credentials.validUntil - time(nil), 3650 * 86_400, accuracy: 60)
      _ = try SelfSigned.pair(in: "\(folder)/tls", names: ["other.example"])
      XCTAssertNotEqual(inode(pair.key), first, "another name needs another certificate")
      XCTAssertEqual(try runProgram(["sh", "-c", "test $(ls -A \(folder)/tls | wc -l) = 2"]), .exited(0), "no drafts")
    }
  }

  /// Several listeners of one machine begin at the same time.
  func testSelfSignedIsMadeOnceForSeveralProcesses() throws {
    try withFolder { folder in
      let files = Mutex<Set<UInt64>>([])
      DispatchQueue.concurrentPerform(iterations: 4) { _ in
        let pair = try? SelfSigned.pair(in: "\(folder)/tls", names: ["localhost"])
        var key = stat()
        let isThere = pair.map { stat($0.key, &key) == 0 } ?? false
        files.withLock { _ = $0.insert(isThere ? UInt64(key.st_ino) : 0) }
      }
      XCTAssertEqual(files.withLock { Array($0) }, [inode("\(folder)/tls/key.pem")], "one key for all; 0 for an error")
      _ = try TLSCredentials([SelfSigned.files(in: "\(folder)/tls")])
    }
  }

  func testSelfSignedReplacesWhatIsExpiredOrHalfWritten() throws {
    try withFolder { folder in
      _ = try SelfSigned.pair(in: folder, names: ["localhost"], validDays: -1)
      let pair = try SelfSigned.pair(in: folder, names: ["localhost"])
      XCTAssertNil(refusal([pair]))
      let other = try SelfSigned.pair(in: "\(folder)/other", names: ["localhost"])
      XCTAssertEqual(rename(other.key, pair.key), 0)
      guard case .mismatch = refusal([pair]) else { return XCTFail("mismatch") }
      XCTAssertNil(refusal([try SelfSigned.pair(in: folder, names: ["localhost"])]))
    }
  }

  func testSelfSignedLeavesOtherFilesAlone() throws {
    try withFolder { folder in
      put("precious\n", "\(folder)/certificate.pem")
      XCTAssertThrowsError(try SelfSigned.pair(in: folder, names: ["localhost"])) {
        XCTAssertEqual($0 as? TLSCredentialsError, .notSelfSigned(path: "\(folder)/certificate.pem"))
      }
      XCTAssertThrowsError(try SelfSigned.pair(in: folder, names: ["a b"])) {
        XCTAssertEqual($0 as? TLSCredentialsError, .badName("a b"))
      }
    }
  }

  func testEveryStepOfWritingMayFail() throws {
    for call in [Kernel.Call.mkdir, .open, .write, .fsync, .fchmod, .rename] {
      for position in 1...4 {
        try withFolder { folder in
          let path = "\(folder)/tls"
          var failed = false
          withFault(.error(ENOSPC), at: position, of: [call]) {
            do {
              _ = try SelfSigned.pair(in: path, names: ["localhost"])
            } catch {
              failed = true
            }
          }
          // Whatever happened, the next start succeeds and leaves exactly two files.
          let pair = try SelfSigned.pair(in: path, names: ["localhost"])
          XCTAssertNil(refusal([pair]), "\(call) \(position) \(failed)")
          XCTAssertEqual(mode(pair.key), 0o600)
          XCTAssertEqual(
            try runProgram(["sh", "-c", "test $(ls -A \(path) | wc -l) = 2"]), .exited(0), "\(call) \(position)")
        }
      }
    }
  }
}
