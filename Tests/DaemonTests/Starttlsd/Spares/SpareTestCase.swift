// SpareTestCase: a daemon with --spare-backends, whose program notes each of its starts and greets with its process number.

import CKernel
import Foundation
import Glibc
import XCTest

class SpareTestCase: StarttlsdTestCase {
  static let isGivenUp = "a spare process is given up (--spare-backends)"

  /// The socket of the status is in it.
  private var folder = TestFolder()
  private var statusPath: String { folder.path + "/status" }

  override func setUp() {
    super.setUp()
    folder = TestFolder()
  }

  /// A server that greets with its number, and says it again after NOOP.
  ///
  /// - Parameter opening: before the greeting.
  static func script(_ opening: String = ":", greeting: String = "say \"220 $$ ESMTP\"") -> String {
    ShellBackend.script(
      """
      echo "$$ ${TCPREMOTEIP-none} ${TCPLOCALIP-none} ${SSL_PROTOCOL-none} ${STARTTLSD_SESSION-none} ${PROTO-none}" >>"$FOLDER/starts"
      \(opening)
      \(greeting)
      """, answers: [("NOOP*", "say \"250 $$\"")])
  }

  func spareDaemon(
    _ number: Int, _ options: [String] = [], _ script: String = SpareTestCase.script(), isShared: Bool = false, under wrapper: [String] = []
  ) throws -> RunningDaemon {
    try daemon(
      ["--spare-backends", "\(number)", "--backend-client", "none", "--backend-grace", "0", "--status-socket", statusPath] + options,
      backend: .script(script), under: wrapper, isShared: isShared)
  }

  /// The state now.
  func spares() throws -> Spares { try Spares(of: statusPath) }

  func waitFor(ready: Int, taken: Int? = nil, _ daemon: RunningDaemon) throws {
    let isSo = try eventually {
      let now = try spares()
      return now.ready == ready && (taken ?? now.taken) == now.taken
    }
    if !isSo { throw Failure("not \(ready) ready: \(try spares()); the log: \(daemon.log)") }
  }

  /// The lines that the program has noted, one a start.
  func starts(_ daemon: RunningDaemon) -> [[String]] {
    daemon.folder.text("starts").split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
  }

  /// The numbers of all processes that were started.
  func started(_ daemon: RunningDaemon) -> [pid_t] { starts(daemon).compactMap { $0.first.flatMap(pid_t.init) } }

  /// The number in a greeting.
  func greeted(_ client: SMTPClient) throws -> pid_t {
    let words = try client.expect("220 ").split(separator: " ")
    return try XCTUnwrap(words.dropFirst().first.flatMap { pid_t($0) })
  }

  /// Whether a process has ended. The one that started it may not have noticed.
  func hasEnded(_ process: pid_t) -> Bool {
    eventually { kill(process, 0) != 0 || ProcessTable.status(of: process)["State"]?.hasPrefix("Z") == true }
  }
}

/// What the status of a daemon says of its spare processes.
struct Spares: Equatable {
  var ready = 0
  var wanted = 0
  var taken = 0
  var givenUp = 0

  init(ready: Int, wanted: Int, taken: Int, givenUp: Int) {
    (self.ready, self.wanted, self.taken, self.givenUp) = (ready, wanted, taken, givenUp)
  }

  /// Asks at the path of --status-socket.
  init(of path: String) throws {
    let object = try XCTUnwrap(try JSONSerialization.jsonObject(with: Data(try Spares.ask(path, "json\n"))) as? [String: Any])
    let members = try XCTUnwrap(object["spare-backends"] as? [String: Int])
    func number(_ name: String) throws -> Int { try XCTUnwrap(members[name], name) }
    self.init(ready: try number("ready"), wanted: try number("wanted"), taken: try number("taken"), givenUp: try number("given-up"))
  }

  private static func ask(_ path: String, _ request: String) throws -> [UInt8] {
    let number = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    defer { Glibc.close(number) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    guard connected == 0, Glibc.send(number, request, request.utf8.count, CInt(MSG_NOSIGNAL)) == request.utf8.count else {
      throw Failure("no status: \(String(cString: strerror(errno)))")
    }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = recv(number, &buffer, buffer.count, 0), count > 0 { octets += buffer[..<count] }
    return octets
  }
}
