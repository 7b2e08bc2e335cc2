// ProgramTests: the real program with a real client.

import PropertyKit
import CKernel
import Foundation
import XCTest

final class ProgramTests: XCTestCase {
  func testASessionOnEveryKindOfDescriptor() throws {
    for kind in [RunningServer.Kind.socketPair, .pipes, .terminal] {
      let server = try RunningServer(
        kind: kind,
        environment: [
          "TCPREMOTEIP": "192.0.2.7", "TCPREMOTEPORT": "4711", "SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES",
        ])
      let flags = [fcntl(server.theirs.input, F_GETFL), fcntl(server.theirs.output, F_GETFL)]
      XCTAssertEqual(server.reply(), "220 mx.example ESMTP")
      let reply = server.deliver(Array("Subject: x\r\n\r\n..a\r\n".utf8), mail: "FROM:<>")
      XCTAssertTrue(reply.hasPrefix("250 2.0.0 Delivered as "), reply)
      server.send("QUIT\r\n")
      XCTAssertEqual(server.reply(), "221 2.0.0 Bye")
      XCTAssertEqual(server.wait(), .exited(0))
      XCTAssertEqual([fcntl(server.theirs.input, F_GETFL), fcntl(server.theirs.output, F_GETFL)], flags)

      let name = String(reply.dropFirst("250 2.0.0 Delivered as ".count))
      XCTAssertEqual(server.folder.names(in: "maildir/new"), [name])
      XCTAssertEqual(server.folder.names(in: "maildir/tmp"), [])
      XCTAssertEqual(server.folder.names(in: "maildir").sorted(), ["cur", "new", "tmp"])
      let lines = String(decoding: server.folder.contents("maildir/new/" + name), as: UTF8.self)
        .components(separatedBy: "\n")
      XCTAssertEqual(
        Array(lines[..<4]),
        [
          "Return-Path: <>", "Delivered-To: c@d", "Received: from c.example ([192.0.2.7])",
          " by mx.example with ESMTPS (TLSv1.3 TLS_AES) id \(name);",
        ])
      XCTAssertTrue(lines[4].hasPrefix(" ") && lines[4].hasSuffix(" +0000"))
      XCTAssertEqual(Array(lines[5...]), ["Subject: x", "", ".a", ""])
      XCTAssertTrue(
        server.log.hasPrefix("maildir-smtpd: delivered \(name): size ")
          && server.log.hasSuffix(", recipients 1, client 192.0.2.7:4711, from <>\n"), server.log)
    }
  }

  func testLargeMessagesAreStoredOctetByOctet() throws {
    var generator = SplitMix(state: 7)
    for kind in [RunningServer.Kind.socketPair, .pipes] {
      var sent: [UInt8] = []
      var expected: [UInt8] = []
      while expected.count < 1 << 20 {
        let length = Int.random(in: 0...200, using: &generator)
        var line = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
        line.removeAll { $0 == 10 || $0 == 13 }
        if Int.random(in: 0..<4, using: &generator) == 0 { line.insert(UInt8(ascii: "."), at: 0) }
        if line.first == UInt8(ascii: ".") { sent.append(UInt8(ascii: ".")) }
        sent += line + [13, 10]
        expected += line + [10]
      }
      let server = try RunningServer(kind: kind)
      _ = server.reply()
      XCTAssertTrue(server.deliver(sent).hasPrefix("250 2.0.0"))
      XCTAssertTrue(server.delivered == [expected], "stored otherwise than sent")
    }
  }

  func testRepliesToAPipelinedGroupComeInOrder() throws {
    let server = try RunningServer(["--domain", "d"])
    server.send(
      "EHLO x\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nFOO\r\n"
        + "DATA\r\nhi\r\n.\r\nNOOP\r\nQUIT\r\n")
    let codes = server.remainder().components(separatedBy: "\r\n").map { $0.prefix(3) }
    XCTAssertEqual(
      codes,
      ["220", "250", "250", "250", "250", "250", "250", "250", "250", "550", "500", "354", "250", "250", "221", ""])
    XCTAssertEqual(server.wait(), .exited(0))
  }

  func testReplyComesWhileTheNextCommandIsIncomplete() throws {
    let server = try RunningServer()
    _ = server.reply()
    server.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCP")
    XCTAssertTrue(server.reply().hasPrefix("250-mx.example"))
    XCTAssertEqual(server.reply(), "250 2.1.0 Sender accepted")
  }

  func testSmuggledMessagesAreNotDelivered() throws {
    let server = try RunningServer()
    _ = server.reply()
    let body = "a\n.\nMAIL FROM:<evil@x>\r\nRCPT TO:<v@x>\r\nDATA\r\nb\r\n"
    XCTAssertEqual(server.deliver(Array(body.utf8)), "554 5.6.0 CR or LF alone in the message")
    server.send("QUIT\r\n")
    XCTAssertEqual(server.reply(), "221 2.0.0 Bye")
    XCTAssertEqual(server.delivered, [])
    XCTAssertEqual(server.folder.names(in: "maildir/tmp"), [])
    XCTAssertTrue(server.log.hasPrefix("maildir-smtpd: refused a message: 554 5.6.0 "), server.log)
  }

  /// The refusal must not be lost to a reset because octets are still on their way.
  func testABrowserReadsTheRefusal() throws {
    let server = try RunningServer()
    _ = server.reply()
    server.send("POST / HTTP/1.1\r\nHost: x\r\n\r\n" + String(repeating: "EHLO x\r\n", count: 5000))
    server.finishSending()
    XCTAssertEqual(server.remainder(), "554 5.5.1 This is an SMTP server\r\n")
    XCTAssertEqual(server.wait(), .exited(0))
  }

  func testEndsOfTheClient() throws {
    for (script, code) in [
      ("", 0), ("EHLO x\r\nMAIL FROM:<a@b>\r\nRC", 0),
      ("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf", 1),
    ] as [(String, CInt)] {
      for kind in [RunningServer.Kind.socketPair, .pipes] {
        let server = try RunningServer(kind: kind)
        server.send(script)
        server.finishSending()
        XCTAssertTrue(server.remainder().hasPrefix("220 "))
        XCTAssertEqual(server.wait(), .exited(code), server.log)
        XCTAssertEqual(server.delivered, [])
        XCTAssertEqual(server.folder.names(in: "maildir/tmp"), [])
      }
    }
  }

  func testTimeouts() throws {
    let silent = try RunningServer(["--timeout", "1"])
    _ = silent.reply()
    // A slow drip gains nothing: the reply comes while it goes on.
    var drops = 0
    while drops < 50, !silent.hasOutput(within: 100) {
      silent.send("N")
      drops += 1
    }
    XCTAssertLessThan(drops, 50)
    XCTAssertEqual(silent.reply(), "421 4.4.2 Timed out, closing connection")
    XCTAssertEqual(silent.wait(), .exited(99))

    let stalled = try RunningServer(["--timeout", "1"])
    stalled.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf")
    XCTAssertTrue(stalled.remainder().hasSuffix("\r\n421 4.4.2 Timed out, closing connection\r\n"))
    XCTAssertEqual(stalled.wait(), .exited(99))
    XCTAssertEqual(stalled.folder.names(in: "maildir/tmp"), [])

    let unread = try RunningServer(["--timeout", "1"])
    unread.flood(String(repeating: "HELP\r\n", count: 1000))
    XCTAssertEqual(unread.wait(), .exited(99))
    XCTAssertTrue(unread.log.contains("the client reads no replies"), unread.log)
  }

  /// The log is a pipe that is full, and nobody reads it: the client must not send its message again for that.
  func testTheReplyDoesNotWaitForTheLog() throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/pipe"
    XCTAssertEqual(mkfifo(path, 0o600), 0)
    let pipe = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(pipe) }
    for size in [4096, 1] {
      let octets = [UInt8](repeating: UInt8(ascii: "\n"), count: size)
      while write(pipe, octets, size) == size {}
    }
    let server = try RunningServer(wrapper: ["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>\(path)"], in: folder)
    _ = server.reply()
    let reply = server.deliver(Array("x\r\n".utf8))
    XCTAssertTrue(reply.hasPrefix("250 2.0.0 Delivered as "), reply)

    server.send("QUIT\r\n")
    var log: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var entry = pollfd(fd: pipe, events: CShort(POLLIN), revents: 0)
    let line = Array("maildir-smtpd: delivered \(reply.dropFirst("250 2.0.0 Delivered as ".count)): size ".utf8)
    while !log.contains(line), poll(&entry, 1, RunningServer.patience) == 1 {
      log += buffer[..<max(0, read(pipe, &buffer, buffer.count))]
    }
    XCTAssertTrue(log.contains(line), "the line is written when the log is read again")
    XCTAssertEqual(server.reply(), "221 2.0.0 Bye")
    XCTAssertEqual(server.wait(), .exited(0))
  }

  /// A line names the sender of its own transaction, not that of an earlier one, and a sender cannot pass for another client.
  func testALineOfTheLogNamesItsOwnSender() throws {
    let server = try RunningServer(["--timeout", "1"])
    _ = server.reply()
    let sender = #"<", client 192.0.2.9:1"@b>"#
    XCTAssertEqual(server.deliver(Array("a\nb\r\n".utf8), mail: "FROM:" + sender), "554 5.6.0 CR or LF alone in the message")
    XCTAssertEqual(server.reply(), "421 4.4.2 Timed out, closing connection")
    XCTAssertEqual(server.wait(), .exited(99))
    XCTAssertTrue(
      server.log.hasPrefix(
        "maildir-smtpd: refused a message: 554 5.6.0 CR or LF alone in the message, client unknown, from \(sender)\n"), server.log)
    XCTAssertTrue(server.log.hasSuffix("maildir-smtpd: timed out: no command came, client unknown\n"), server.log)
  }

  func testSignalsThatStopTheProgram() throws {
    for number in [SIGTERM, SIGINT, SIGHUP] {
      let server = try RunningServer()
      _ = server.reply()
      server.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf\r\n")
      for _ in 0..<4 { _ = server.reply() }
      server.signal(number)
      XCTAssertEqual(server.reply(), "421 4.3.2 Stopping, closing connection")
      XCTAssertEqual(server.wait(), .killed(number))
      XCTAssertEqual(server.folder.names(in: "maildir/tmp"), [])
      XCTAssertEqual(server.delivered, [])
    }
  }

  /// The others, as the manual page says.
  func testSignalsThatEndTheProgramAtOnceOrNot() throws {
    for number in [SIGALRM, SIGUSR1, SIGUSR2] {
      let server = try RunningServer()
      _ = server.reply()
      server.signal(number)
      XCTAssertEqual(server.wait(), .killed(number))
      XCTAssertEqual(server.delivered, [])
    }
    let server = try RunningServer()
    _ = server.reply()
    for number in [SIGPIPE, SIGXFSZ] { server.signal(number) }
    server.send("QUIT\r\n")
    XCTAssertEqual(server.reply(), "221 2.0.0 Bye")
    XCTAssertEqual(server.wait(), .exited(0))
  }

  /// Killed anywhere, the program leaves whole messages in `new` or none.
  func testKilledAtManyPoints() throws {
    let body = Array(String(repeating: "0123456789abcdef\r\n", count: 8000).utf8)
    let stored = Array(String(repeating: "0123456789abcdef\n", count: 8000).utf8)
    let script = Array("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n".utf8) + body + Array(".\r\n".utf8)
    var whole = 0
    for point in 0..<24 {
      let server = try RunningServer()
      _ = server.reply()
      if point < 8 {
        server.send(Array(script.prefix(script.count * point / 8)))
      } else {
        server.send(script)
        if point < 23 {
          usleep(UInt32(point - 8) * 400)
        } else {
          for _ in 0..<4 { _ = server.reply() }
          XCTAssertTrue(server.reply().hasPrefix("250 2.0.0 Delivered"))
        }
      }
      server.signal(SIGKILL)
      XCTAssertEqual(server.wait(), .killed(SIGKILL))
      let delivered = server.delivered
      XCTAssertTrue(delivered.isEmpty || delivered == [stored], "part of a message at point \(point)")
      whole += delivered.count
    }
    // The first points lie before the moment of delivery, the last after it.
    XCTAssertGreaterThan(whole, 0)
    XCTAssertLessThanOrEqual(whole, 16)
  }

  func testWrongCalls() throws {
    for (options, text) in [
      (["--bogus"], "--bogus is not an option"), (["-x"], "-x is not an option"),
      (["--timeout", "much"], "--timeout must be an unsigned integer"),
      (["--timeout=0"], "--timeout must be from 1 to 2147483647"),
      (["--hostname", "a b"], "--hostname a b: not a host's name"), (["first"], "more than one Maildir"),
      (["--version=1"], "--version=1 is not an option"),
    ] {
      let server = try RunningServer(options)
      XCTAssertEqual(server.wait(), .exited(100))
      XCTAssertTrue(server.log.hasPrefix("maildir-smtpd: \(text)"), server.log)
      XCTAssertEqual(server.log.components(separatedBy: "\n").count, 2, "one line")
    }
  }

  func testHelpAndVersion() throws {
    for (option, text) in [("--help", "usage: maildir-smtpd "), ("--version", "maildir-smtpd ")] {
      let server = try RunningServer([option])
      XCTAssertTrue(server.remainder().hasPrefix(text))
      XCTAssertEqual(server.wait(), .exited(0))
    }
  }

  /// A descriptor that is closed at the start must not become a file of the Maildir, or the dialogue or the log would
  /// go into a message.
  func testClosedStandardDescriptors() throws {
    for redirection in ["0<&-", "1>&-"] {
      let server = try RunningServer(wrapper: ["/bin/sh", "-c", "exec \"$0\" \"$@\" \(redirection)"])
      XCTAssertEqual(server.wait(), .exited(111), redirection)
    }
    let mute = try RunningServer(wrapper: ["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&-"])
    _ = mute.reply()
    XCTAssertTrue(mute.deliver(Array("x\r\n".utf8)).hasPrefix("250 2.0.0"))
    XCTAssertEqual(mute.delivered, [Array("x\n".utf8)])
    XCTAssertEqual(mute.log, "")
  }
}
