// OddServerNameTests: clients that ask for a server name which is no host name, as containers and addresses with a port
// make them do. Each delivers inside TLS; the name is in the log, and the backend gets none.

import Foundation
import XCTest

final class OddServerNameTests: StarttlsdTestCase {
  /// smtplib writes its commands in small letters.
  private let backend = ShellBackend.script(answers: [
    ("data", "say '354 go on'; while IFS= read -r line && [ \"$line\" != \".$cr\" ]; do :; done; say '250 stored'"),
    ("quit", "say '221 bye'; exit"),
    ("MAIL*|mail*", "printf '%s' \"$SSL_PROTOCOL ${SSL_TLS_SNI_SERVERNAME-no name}\" >\"$FOLDER/facts\"; say '250 done'")
  ])

  private let script = "EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"

  /// - Parameter logged: the name as it stands in the log; nil where the client's own way makes it.
  private func assertDelivers(
    _ logged: String?, version: String = "TLSv1.3", file: StaticString = #filePath, line: UInt = #line,
    _ deliver: (UInt16) throws -> Result
  ) throws {
    let daemon = try daemon(backend: .script(backend))
    let result = try deliver(daemon.port)
    let session = try daemon.session(file: file, line: line)
    XCTAssertEqual(session.outcome, "handoff: relayed", "\(session) \(result.output) \(result.errors)", file: file, line: line)
    XCTAssertEqual(session["sni-ignored"], logged ?? "127.0.0.1:\(daemon.port)", "\(session)", file: file, line: line)
    XCTAssertNil(session["sni"], file: file, line: line)
    XCTAssertEqual(daemon.folder.text("facts"), "\(version) no name", file: file, line: line)
  }

  func testOpenSSL() throws {
    for (name, logged) in [
      ("mail_server", "mail_server"), ("a_b.example", "a_b.example"), ("::1", "::1"), ("localhost:25", "localhost:25"),
      ("b\u{FC}cher.example", "b\\xC3\\xBCcher.example"), ("a\"b", "a\\x22b"),
    ] {
      for version in ["2", "3"] {
        try assertDelivers(logged, version: "TLSv1.\(version)") { [self] port in
          try run(
            [
              "openssl", "s_client", "-tls1_\(version)", "-starttls", "smtp", "-quiet", "-servername", name, "-connect",
              "127.0.0.1:\(port)",
            ], input: script)
        }
      }
    }
  }

  func testGnuTLS() throws {
    try assertDelivers("mail_server") { [self] port in
      try run(
        [
          "gnutls-cli", "--starttls-proto=smtp", "--insecure", "--sni-hostname=mail_server", "--port", "\(port)",
          "127.0.0.1",
        ], input: script)
    }
  }

  /// smtplib asks for what it was given as the host: here an address with its port.
  func testSmtplib() throws {
    for (prepare, logged) in [("pass", nil), ("client._host = 'mail_server'", "mail_server")] {
      let program = """
        import smtplib, ssl, sys
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.SMTP('127.0.0.1:' + sys.argv[1], local_hostname='client.example', timeout=10) as client:
            \(prepare)
            client.starttls(context=context)
            client.sendmail('a@b', ['c@d'], 'Subject: x')
        """
      try assertDelivers(logged) { [self] port in try run(["/usr/bin/python3", "-Ic", program, "\(port)"]) }
    }
  }

  func testSwaks() throws {
    try assertDelivers("mail_server") { [self] port in
      try run(
        [
          "swaks", "--server", "127.0.0.1", "--port", "\(port)", "--ehlo", "client.example", "--from", "a@b", "--to", "c@d",
          "--tls", "--tls-sni", "mail_server", "--timeout", "10",
        ])
    }
  }

  func testCurl() throws {
    try assertDelivers("mail_server") { [self] port in
      let folder = TestFolder()
      let file = try folder.write(Array("Subject: x\r\n\r\nx\r\n".utf8), to: "message")
      return try run(
        [
          "curl", "-sS", "--max-time", "10", "--resolve", "mail_server:\(port):127.0.0.1", "--ssl-reqd", "--insecure",
          "smtp://mail_server:\(port)/client.example", "--mail-from", "a@b", "--mail-rcpt", "c@d", "-T", file,
        ])
    }
  }
}
