// ServerNameTests: a client may ask for any server name. One that is no host name gets the default certificate.

import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class ServerNameTests: XCTestCase {
  /// Names that senders use, and some unusual ones; none is a DNS name.
  private let names = [
    "mail_server", "a_b.example", "::1", "localhost:25", "b\u{FC}cher.example", "mail..example", "mail.example.", "a b", "a;b",
    "[127.0.0.1]", "-\u{1}\u{7f}\"\\",
  ]

  /// A default certificate, and another for some.example and everything below it.
  private func credentials(_ folder: String, tickets: Bool = false) throws -> TLSCredentials {
    let some = try SelfSigned.pair(in: "\(folder)/some", names: ["some.example"])
    return try TLSCredentials(
      [try SelfSigned.pair(in: "\(folder)/default", names: ["default.example"])],
      named: ["some.example": [some], "*.some.example": [some]], tickets: tickets ? .on : .off)
  }

  private func assertIgnored(
    _ name: [UInt8], _ meeting: borrowing TLSMeeting, _ what: String, file: StaticString = #filePath, line: UInt = #line
  ) {
    XCTAssertEqual(meeting.outcome, .established, what, file: file, line: line)
    XCTAssertNil(meeting.stream.facts.serverName, what, file: file, line: line)
    XCTAssertEqual(meeting.stream.facts.ignoredServerName, name, what, file: file, line: line)
  }

  // MARK: openssl s_client

  func testANameThatIsNoHostNameGetsTheDefaultCertificate() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for name in names + ["x_y.some.example"] {
        for version in ["-tls1_2", "-tls1_3"] {
          let meeting = try TLSMeeting(credentials, [version, "-servername", name])
          assertIgnored(octets(name), meeting, "\(name) \(version)")
          let printed = meeting.printed(until: "Verify return code")
          XCTAssertTrue(printed.contains("subject=CN = default.example"), printed)
          meeting.client.put("NOOP\n")
          XCTAssertEqual(meeting.read().1, "NOOP\n", "\(name) \(version)")
        }
      }
    }
  }

  /// The same where the client's first key is of no use to the server, so that there are two ClientHellos.
  func testTheSameAfterAHelloRetryRequest() throws {
    try withFolder { folder in
      let meeting = try TLSMeeting(
        try TLSCredentials([try SelfSigned.pair(in: folder, names: ["default.example"])]),
        ["-tls1_3", "-groups", "X25519:P-384", "-msg", "-servername", "mail_server"],
        priorities: try TLSPriorities(.modern, groups: ["secp384r1"]))
      assertIgnored(octets("mail_server"), meeting, "second ClientHello")
      let printed = meeting.printed(until: "Verify return code")
      XCTAssertEqual(printed.components(separatedBy: ", ClientHello").count, 3, printed)
    }
  }

  /// A session that began with an unusable name can be resumed with it.
  func testResumption() throws {
    try withFolder { folder in
      let credentials = try credentials(folder, tickets: true)
      for version in ["-tls1_2", "-tls1_3"] {
        let words = [version, "-servername", "mail_server"]
        let first = try TLSMeeting(credentials, words + ["-sess_out", "\(folder)/session"])
        assertIgnored(octets("mail_server"), first, version)
        first.write("220 hello\r\n")
        var printed = first.printed(until: "220 hello")
        first.client.put("Q\n")
        printed += first.printed(until: "DONE\n")
        let second = try TLSMeeting(credentials, words + ["-sess_in", "\(folder)/session"])
        assertIgnored(octets("mail_server"), second, version)
        printed = second.printed(until: "Verify return code")
        XCTAssertTrue(printed.contains("Reused, "), printed)
      }
    }
  }

  func testAUsableNameStillChooses() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for (name, subject) in [("Some.Example", "some"), ("a.some.example", "some"), ("other.example", "default")] {
        let meeting = try TLSMeeting(credentials, ["-servername", name])
        XCTAssertEqual(meeting.outcome, .established)
        XCTAssertEqual(meeting.stream.facts.serverName, name.lowercased())
        XCTAssertNil(meeting.stream.facts.ignoredServerName)
        XCTAssertTrue(meeting.printed(until: "subject=").contains("subject=CN = \(subject).example"), name)
      }
    }
  }

  /// Where there is no default certificate, an unusable name is no better than none.
  func testWithoutADefaultCertificateItIsRefused() throws {
    try withFolder { folder in
      let some = try SelfSigned.pair(in: folder, names: ["some.example"])
      let meeting = try TLSMeeting(try TLSCredentials([], named: ["some.example": [some]]), ["-servername", "mail_server"])
      guard case .failed = meeting.outcome else { return XCTFail("\(meeting.outcome)") }
      let printed = meeting.printed(until: "unrecognized name")
      XCTAssertTrue(printed.contains("unrecognized name"), printed)
    }
  }

  /// What a session comes to with a GnuTLS that cannot be persuaded: the name is in the failure, the client gets an alert.
  func testALibraryThatInsistsNamesTheName() throws {
    try withFolder { folder in
      let meeting = try TLSMeeting(try credentials(folder), prepare: { $0.toleratesServerNames = false }) {
        ["openssl", "s_client", "-connect", $0.description, "-servername", "mail \"server\u{7f}"]
      }
      XCTAssertEqual(
        meeting.outcome,
        .failed(#"TLS handshake: the client asked for server name "mail \x22server\x7F", which GnuTLS refuses"#))
      let printed = meeting.printed(until: "alert illegal parameter")
      XCTAssertTrue(printed.contains("alert illegal parameter"), printed)
    }
  }

  // MARK: Contents that openssl does not send

  /// A list of host names as it is sent.
  private func list(_ names: [[UInt8]]) -> [UInt8] {
    let entries: [UInt8] = names.flatMap { name -> [UInt8] in [0, UInt8(name.count >> 8), UInt8(name.count & 255)] + name }
    return [UInt8(entries.count >> 8), UInt8(entries.count & 255)] + entries
  }

  private func asking(_ contents: [UInt8], _ version: String, _ credentials: TLSCredentials) throws -> TLSMeeting {
    let digits = contents.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return try TLSMeeting(credentials) {
      ["/usr/bin/python3", "-ISc", ServerNameTests.client, "\($0.port ?? 0)", version, digits]
    }
  }

  func testAnyContents() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      let long = [UInt8](repeating: UInt8(ascii: "a"), count: 300)
      for version in ["1.2", "1.3"] {
        for (names, ignored) in [
          ([[]], []), ([long], Array(long.prefix(255))), ([long + [0]], Array(long.prefix(255))), ([[0xFF, 0xFE]], [0xFF, 0xFE]),
          ([octets("mail_server"), octets("some.example")], octets("mail_server")),
        ] as [([[UInt8]], [UInt8])] {
          let meeting = try asking(list(names), version, credentials)
          assertIgnored(ignored, meeting, "\(names) \(version)")
          XCTAssertEqual(meeting.read().1, "NOOP\r\n")
          meeting.write("250 ok\r\n")
          XCTAssertTrue(meeting.printed(until: "250 ok").contains("250 ok"))
        }
        // The first host name counts.
        let two = try asking(list([octets("some.example"), octets("mail_server")]), version, credentials)
        XCTAssertEqual(two.outcome, .established)
        XCTAssertEqual(two.stream.facts.serverName, "some.example")
        XCTAssertNil(two.stream.facts.ignoredServerName)
        // A name of another kind is skipped.
        let other = try asking([0, 8, 7, 0, 1, 0, 0, 0, 1, 0x5F], version, credentials)
        assertIgnored([0x5F], other, version)
      }
    }
  }

  /// What is no list of names is refused as before.
  func testContentsThatAreNoListAreRefused() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for contents in [[0], [0, 0], [0, 9, 0, 0, 1, 0x5F], [0, 4, 0, 0, 9, 0x5F], [0, 2, 0, 0]] as [[UInt8]] {
        let meeting = try asking(contents, "1.3", credentials)
        guard case .failed = meeting.outcome else { return XCTFail("\(contents): \(meeting.outcome)") }
        XCTAssertNil(meeting.stream.facts.ignoredServerName)
      }
    }
  }

  /// A GnuTLS client whose server_name extension has the given contents, in hexadecimal digits. It registers an extension
  /// of its own under that number, see UnusableServerName.swift; sends NOOP and prints the answer.
  private static let client = #"""
    import ctypes, socket, sys

    port, version, contents = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    tls = ctypes.CDLL('libgnutls.so.30')
    tls.gnutls_strerror.restype = ctypes.c_char_p
    tls.gnutls_record_send.restype = tls.gnutls_record_recv.restype = ctypes.c_ssize_t
    tls.gnutls_record_send.argtypes = tls.gnutls_record_recv.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]

    def check(code):
        if code < 0:
            sys.exit(f'{code}: {tls.gnutls_strerror(code).decode()}')
        return code

    SEND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    @SEND
    def send(session, buffer):
        check(tls.gnutls_buffer_append_data(ctypes.c_void_p(buffer), contents, ctypes.c_size_t(len(contents))))
        return len(contents)

    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    check(tls.gnutls_init(ctypes.byref(session), 2))
    check(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    check(tls.gnutls_credentials_set(session, 1, credentials))
    check(tls.gnutls_priority_set_direct(session, f'NORMAL:-VERS-ALL:+VERS-TLS{version}'.encode(), None))
    check(tls.gnutls_session_ext_register(session, b'server_name', 0x10000, 1, None, send, None, None, None, 0))
    connection = socket.create_connection(('127.0.0.1', port))
    tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
    check(tls.gnutls_handshake(session))
    check(tls.gnutls_record_send(session, b'NOOP\r\n', 6))
    answer = ctypes.create_string_buffer(100)
    while (code := tls.gnutls_record_recv(session, answer, 100)) == -28:
        pass
    check(code)
    print(answer.value.decode(), end='', flush=True)
    """#
}
