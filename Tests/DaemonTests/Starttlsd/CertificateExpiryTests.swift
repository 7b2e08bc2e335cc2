// CertificateExpiryTests: days pass in six seconds (Debian's faketime), and the warnings of certificates that end are counted.

import Foundation
import XCTest

final class CertificateExpiryTests: StarttlsdTestCase {
  private let day = 86_400.0

  /// From 14 days before the end on, and after the end: one warning a day. None before that.
  func testAWarningADay() throws {
    let folder = TestFolder()
    // Not the program faketime, which would stay as the parent. The second env is there because the first process that loads the
    // library does not get all of its options.
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x14400", "/usr/bin/env"]
    let soon = try makeCertificate("soon", in: folder, ["-days", "15"])
    // A day of the clock, which the start of the daemon must not take.
    let short = try makeCertificate("short", in: folder, ["-days", "1"])
    // The filter of the process of the keys does not allow what the library does.
    let daemons = try [soon, short].map {
      try daemon(["--key-in-process"], backend: .script(ShellBackend.script()), certificate: $0, under: fast)
    }
    let warnings = daemons.map { daemon in
      XCTAssertTrue(eventually { lines(daemon).count >= 3 }, daemon.log)
      return Array(lines(daemon).prefix(3))
    }
    for daemon in daemons { daemon.stop() }
    for lines in warnings {
      let times = try lines.map { try XCTUnwrap(ISO8601DateFormatter().date(from: String($0.prefix(24)))) }
      for (earlier, later) in zip(times, times.dropFirst()) {
        // The two clocks differ by seconds under the library; a busy machine may let a day or two pass.
        XCTAssertTrue((0.99 * day...3 * day).contains(later.timeIntervalSince(earlier)), "\(lines)")
      }
    }
    XCTAssertTrue(warnings[0][0].contains("\(soon.certificate): expires in 1"), warnings[0][0])
    XCTAssertEqual(Set(warnings[0].map(text)).count, 3, "\(warnings[0])")
    XCTAssertTrue(warnings[1][0].contains("\(short.certificate): expires in less than a day, on "), warnings[1][0])
    XCTAssertTrue(warnings[1][1].contains("\(short.certificate): expired on "), warnings[1][1])
    XCTAssertEqual(text(warnings[1][1]), text(warnings[1][2]))
  }

  private func lines(_ daemon: RunningDaemon) -> [String] {
    daemon.log.split(separator: "\n").filter { $0.contains(" warning starttlsd: ") && $0.contains("renew") }.map(String.init)
  }

  /// A line without its time.
  private func text(_ line: String) -> String { String(line.drop { $0 != " " }) }
}
