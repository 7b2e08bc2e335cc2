// CredentialLoadingTests: a set is loaded in small steps, and each file is read once, however many names there are.

import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class CredentialLoadingTests: XCTestCase {
  /// Opens files by their paths, and counts.
  private final class Counting: CredentialOpening {
    var opened: [String: Int] = [:]
    var total: Int { opened.values.reduce(0, +) }

    func open(_ path: String) throws(SystemError) -> Descriptor {
      opened[path, default: 0] += 1
      return Descriptor(adopting: try Kernel.open(path, O_RDONLY))
    }
  }

  /// Certificates for so many names, and an issuer of clients with an empty and a full list.
  private func request(_ folder: String, names: Int) throws -> CredentialRequest {
    let pairs = try (0..<names).map { try SelfSigned.pair(in: "\(folder)/\($0)", names: ["mx\($0).example"]) }
    let script = """
      cd "$1" && : >index && printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\n' >ca.conf &&
      openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30 -subj /CN=ca -keyout ca.key -out ca.pem &&
      openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30 -subj /CN=client -CA ca.pem -CAkey ca.key \
        -addext basicConstraints=critical,CA:FALSE -set_serial 0xF00D -keyout client.key -out client.pem &&
      printf 'R\\t391231235959Z\\t250101000000Z\\tF00D\\tunknown\\t/CN=client\\n' >>index &&
      for number in 1 2 3; do printf 'R\\t391231235959Z\\t250101000000Z\\tA%d\\tunknown\\t/CN=x\\n' $((number + 100)) >>index; done &&
      openssl ca -config ca.conf -cert ca.pem -keyfile ca.key -gencrl -crldays 30 -out crl.pem
      """
    XCTAssertEqual(try runProgram(["sh", "-c", "(\(script)) >\"$1/output\" 2>&1", "sh", folder]), .exited(0))
    return CredentialRequest(
      pairs: [pairs[0]], others: Array(pairs.dropFirst()),
      clients: ClientCertificates(.required, trust: .file("\(folder)/ca.pem"), revocations: ["\(folder)/crl.pem"]))
  }

  func testEachFileIsReadOnceInAStepOfItsOwn() throws {
    try withFolder { folder in
      let request = try request(folder, names: 12)
      let opening = Counting()
      let loading = try CredentialLoading(request, opening: opening, keys: nil)
      var loaded: TLSCredentials?
      var steps = 0
      while loaded == nil {
        let before = opening.total
        loaded = try loading.next(earlier: nil)
        steps += 1
        // A certificate and its key are read together.
        XCTAssertLessThanOrEqual(opening.total - before, 2, "step \(steps)")
      }
      XCTAssertEqual(opening.opened.count, 26, "12 pairs, the issuer, the list")
      XCTAssertEqual(opening.opened.filter { $0.value != 1 }, [:])
      XCTAssertEqual(loaded?.served.count, 12)
      // One step a certificate, one a set for a name, one the list.
      XCTAssertGreaterThanOrEqual(steps, 25)
    }
  }

  /// The list counts for each name, also for one whose certificates have a set of their own.
  func testARevokedClientIsRefusedForEachName() throws {
    try withFolder { folder in
      let request = try request(folder, names: 3)
      let credentials = try TLSCredentials(request, opening: nil)
      for name in ["mx0.example", "mx2.example", "other.example"] {
        let meeting = try TLSMeeting(
          credentials, ["-tls1_2", "-servername", name, "-cert", "\(folder)/client.pem", "-key", "\(folder)/client.key"])
        XCTAssertEqual(meeting.outcome, .failed("TLS handshake: the client's certificate is not accepted: revoked"), name)
      }
    }
  }
}
