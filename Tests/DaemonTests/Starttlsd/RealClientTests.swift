// RealClientTests: the mail clients and TLS tools that people have, against the real daemon and maildir-smtpd.
//
// Each delivers over STARTTLS, delivers in clear where the policy lets it, and is refused where it does not.

import Foundation
import XCTest

final class RealClientTests: StarttlsdTestCase {
  /// What each client sends, as it is stored but with CRLF: dots at the beginning, an empty line, no line end missing.
  private let message =
    "From: a@client.example\r\nTo: b@mx.example\r\nSubject: A real client\r\n\r\n"
    + ".one dot\r\n..two dots\r\n\r\n.\u{20}\r\n" + (1...60).map { "line \($0) of a text of some length\r\n" }.joined() + "last line\r\n"

  // MARK: openssl s_client

  func testOpenSSLDeliversOverSTARTTLS() throws {
    try assertDelivers(.secured) { [self] port in
      try run(
        ["openssl", "s_client", "-starttls", "smtp", "-crlf", "-quiet", "-connect", "127.0.0.1:\(port)"], input: script)
    }
  }

  func testOpenSSLDeliversOverSTARTTLSWithTLS12() throws {
    try assertDelivers(.secured, version: "TLSv1.2") { [self] port in
      try run(
        ["openssl", "s_client", "-tls1_2", "-starttls", "smtp", "-crlf", "-quiet", "-connect", "127.0.0.1:\(port)"],
        input: script)
    }
  }

  /// The client splits what it sends into records of 100 octets.
  func testOpenSSLDeliversInSmallRecords() throws {
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
      let folder = TestFolder()
      let sent = folder.path + "/sent"
      try assertDelivers(.secured, version: version) { [self] port in
        try run(
          ["openssl", "s_client", option, "-split_send_frag", "100", "-max_send_frag", "512", "-max_pipelines", "1", "-msg", "-msgfile", sent,
            "-starttls", "smtp", "-crlf", "-quiet", "-connect", "127.0.0.1:\(port)"],
          input: script)
      }
      // The lengths of the records with application data; the header of a record is on the line after its name.
      let lines = folder.text("sent").components(separatedBy: "\n")
      let headers = zip(lines, lines.dropFirst()).filter { name, _ in name.hasPrefix(">>> ") && name.contains("RecordHeader") }.map { $0.1 }
      let records = headers.filter { $0.hasPrefix("    17 03 03 ") }.compactMap { Int($0.split(separator: " ").suffix(2).joined(), radix: 16) }
      XCTAssertGreaterThan(records.count, 20, "\(version): \(records)")
      // With what the cipher adds.
      XCTAssertLessThanOrEqual(records.max() ?? 0, 100 + 24, "\(version): \(records)")
    }
  }

  /// openssl has no mode in clear: what it would send, over a plain socket.
  func testWhatOpenSSLSendsIsDeliveredInClear() throws {
    try assertDelivers(.clear) { [self] port in try sendPlainly(port) }
  }

  func testWhatOpenSSLSendsIsRefusedInClearWhereTLSIsRequired() throws {
    try assertIsRefused { [self] port in try sendPlainly(port) }
  }

  // MARK: gnutls-cli

  func testGnuTLSDeliversOverSTARTTLS() throws {
    try assertDelivers(.secured) { [self] port in
      try run(
        ["gnutls-cli", "--starttls-proto=smtp", "--insecure", "--port", "\(port)", "127.0.0.1"], input: wireScript)
    }
  }

  /// With `--starttls` gnutls-cli talks in clear up to the end of its input or a signal, neither of which comes here.
  func testGnuTLSDeliversInClear() throws {
    try assertDelivers(.clear) { [self] port in try runGnuTLSInClear(port) }
  }

  func testGnuTLSIsRefusedInClearWhereTLSIsRequired() throws {
    try assertIsRefused { [self] port in try runGnuTLSInClear(port) }
  }

  // MARK: swaks

  func testSwaksDeliversOverSTARTTLS() throws {
    try assertDelivers(.secured) { [self] port in try runSwaks(port, ["--tls"]) }
  }

  func testSwaksDeliversInClear() throws {
    try assertDelivers(.clear) { [self] port in try runSwaks(port, []) }
  }

  func testSwaksIsRefusedInClearWhereTLSIsRequired() throws {
    try assertIsRefused { [self] port in try runSwaks(port, [], expecting: nil) }
  }

  // MARK: curl

  func testCurlDeliversOverSTARTTLS() throws {
    try assertDelivers(.secured) { [self] port in try runCurl(port, ["--ssl-reqd", "--insecure"]) }
  }

  func testCurlDeliversInClear() throws {
    try assertDelivers(.clear) { [self] port in try runCurl(port, []) }
  }

  func testCurlIsRefusedInClearWhereTLSIsRequired() throws {
    try assertIsRefused { [self] port in try runCurl(port, ["-v"], expecting: nil) }
  }

  // MARK: smtplib

  func testSmtplibDeliversOverSTARTTLS() throws {
    try assertDelivers(.secured) { [self] port in try runSmtplib(port, "client.starttls(context=context)") }
  }

  func testSmtplibDeliversInClear() throws {
    try assertDelivers(.clear) { [self] port in try runSmtplib(port, "pass") }
  }

  func testSmtplibIsRefusedInClearWhereTLSIsRequired() throws {
    try assertIsRefused { [self] port in try runSmtplib(port, "pass", expecting: nil) }
  }

  // MARK: TLS from the start

  func testOpenSSLDeliversOverTLSFromTheStart() throws {
    try assertDelivers(.implicit) { [self] port in
      try run(
        ["openssl", "s_client", "-crlf", "-ign_eof", "-quiet", "-connect", "127.0.0.1:\(port)"], input: script, inputEnds: false,
        expecting: nil)
    }
  }

  func testGnuTLSDeliversOverTLSFromTheStart() throws {
    try assertDelivers(.implicit) { [self] port in
      try run(["gnutls-cli", "--insecure", "--port", "\(port)", "127.0.0.1"], input: wireScript, inputEnds: false, expecting: nil)
    }
  }

  func testSwaksDeliversOverTLSFromTheStart() throws {
    try assertDelivers(.implicit) { [self] port in try runSwaks(port, ["--tls-on-connect"]) }
  }

  func testCurlDeliversOverTLSFromTheStart() throws {
    try assertDelivers(.implicit) { [self] port in try runCurl(port, ["--insecure"], "smtps") }
  }

  func testSmtplibDeliversOverTLSFromTheStart() throws {
    try assertDelivers(.implicit) { [self] port in
      let program = """
        import smtplib, ssl, sys
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.SMTP_SSL('127.0.0.1', \(port), local_hostname='client.example', timeout=10, context=context) as client:
            client.ehlo()
            assert not client.has_extn('starttls')
            client.sendmail('a@client.example', ['b@mx.example'], sys.stdin.buffer.read())
        """
      return try run(["/usr/bin/python3", "-Ic", program], input: message)
    }
  }

  // MARK: How each is called

  /// A whole dialogue, sent without waiting, for tools that only carry octets. They make CRLF of LF.
  private var script: String {
    let stuffed = message.components(separatedBy: "\r\n").map { $0.hasPrefix(".") ? "." + $0 : $0 }.joined(separator: "\n")
    return "EHLO client.example\nMAIL FROM:<a@client.example>\nRCPT TO:<b@mx.example>\nDATA\n" + stuffed + ".\nQUIT\n"
  }

  /// The same for those that do not, or get it wrong as gnutls-cli does.
  private var wireScript: String { script.replacingOccurrences(of: "\n", with: "\r\n") }

  private func sendPlainly(_ port: UInt16) throws -> Result {
    let client = try client(host: "127.0.0.1", port: port)
    try client.send(wireScript)
    let rest = try client.remainder()
    XCTAssertEqual(rest.end, .end)
    client.close()
    return Result(end: .exited(0), output: rest.text, errors: "")
  }

  private func runGnuTLSInClear(_ port: UInt16) throws -> Result {
    try run(
      ["gnutls-cli", "--starttls", "--insecure", "--port", "\(port)", "127.0.0.1"], input: wireScript,
      inputEnds: false, expecting: nil)
  }

  private func runSwaks(_ port: UInt16, _ options: [String], expecting end: SpawnedProgram.End? = .exited(0)) throws -> Result {
    let folder = TestFolder()
    // swaks adds a line end.
    let file = try folder.write(Array(message.utf8.dropLast(2)), to: "message")
    let words = [
      "swaks", "--server", "127.0.0.1", "--port", "\(port)", "--ehlo", "client.example", "--from", "a@client.example", "--to",
      "b@mx.example", "--data", "@\(file)", "--timeout", "10",
    ]
    return try run(words + options, expecting: end)
  }

  private func runCurl(_ port: UInt16, _ options: [String], _ scheme: String = "smtp", expecting end: SpawnedProgram.End? = .exited(0)) throws -> Result {
    let folder = TestFolder()
    let file = try folder.write(Array(message.utf8), to: "message")
    let words = [
      "curl", "-sS", "--max-time", "10", "\(scheme)://127.0.0.1:\(port)/client.example", "--mail-from", "a@client.example",
      "--mail-rcpt", "b@mx.example", "-T", file,
    ]
    return try run(words + options, expecting: end)
  }

  private func runSmtplib(
    _ port: UInt16, _ security: String, expecting end: SpawnedProgram.End? = .exited(0)
  ) throws -> Result {
    let program = """
      import smtplib, ssl, sys
      context = ssl.create_default_context()
      context.check_hostname = False
      context.verify_mode = ssl.CERT_NONE
      with smtplib.SMTP('127.0.0.1', \(port), local_hostname='client.example', timeout=10) as client:
          client.ehlo()
          assert client.has_extn('starttls')
          \(security)
          client.sendmail('a@client.example', ['b@mx.example'], sys.stdin.buffer.read())
      """
    return try run(["/usr/bin/python3", "-Ic", program], input: message, expecting: end)
  }

  // MARK: What is checked

  private enum Way { case clear, secured, implicit }

  private func assertDelivers(
    _ way: Way, version: String = "TLSv1.3", file: StaticString = #filePath, line: UInt = #line,
    _ deliver: (UInt16) throws -> Result
  ) throws {
    for policy in way == .clear ? ["opportunistic"] : ["opportunistic", "required"] {
      let daemon = try daemon(["--policy", policy] + (way == .implicit ? ["--listen-tls", "127.0.0.1:0"] : []))
      let result = try deliver(daemon.ports.last ?? 0)
      assertDelivered(way, version, daemon, result, try daemon.session(file: file, line: line), file: file, line: line)
    }
  }

  private func assertDelivered(
    _ way: Way, _ version: String, _ daemon: RunningDaemon, _ result: Result, _ session: LoggedSession, file: StaticString,
    line: UInt
  ) {
    guard daemon.messages.count == 1, let delivered = daemon.messages.first else {
      return XCTFail("\(daemon.messages.count) messages: \(session) \(result.output) \(result.errors)", file: file, line: line)
    }
    XCTAssertEqual(delivered.text, message.replacingOccurrences(of: "\r\n", with: "\n"), file: file, line: line)
    XCTAssertEqual(
      Array(delivered.trace.prefix(2)), ["Return-Path: <a@client.example>", "Delivered-To: b@mx.example"], file: file,
      line: line)
    switch way {
    case .clear:
      XCTAssertTrue(delivered.received.hasPrefix(" by mx.example with ESMTP id "), delivered.received, file: file, line: line)
      XCTAssertEqual(session.outcome, "abort mail: relayed", file: file, line: line)
      XCTAssertNil(session["tls"], file: file, line: line)
    case .secured, .implicit:
      XCTAssertTrue(
        delivered.received.hasPrefix(" by mx.example with ESMTPS (\(version) "), delivered.received, file: file, line: line)
      XCTAssertEqual(session.outcome, way == .implicit ? "implicit: relayed" : "handoff: relayed", file: file, line: line)
      XCTAssertEqual(session["tls"], version, file: file, line: line)
    }
  }

  private func assertIsRefused(
    file: StaticString = #filePath, line: UInt = #line, _ deliver: (UInt16) throws -> Result
  ) throws {
    let daemon = try daemon(["--policy", "required"])
    let result = try deliver(daemon.port)
    XCTAssertTrue(
      (result.output + result.errors).contains("530"), "\(result.output)\(result.errors)", file: file, line: line)
    XCTAssertEqual(try daemon.session(file: file, line: line)["decision"], "abort", file: file, line: line)
    daemon.assertNothingIsDelivered(file: file, line: line)
  }
}
