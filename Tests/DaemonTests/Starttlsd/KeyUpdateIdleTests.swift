// KeyUpdateIdleTests: updates of keys are no progress: a client that sends nothing else is idle.

import XCTest

final class KeyUpdateIdleTests: StarttlsdTestCase {
  func testUpdatesOfKeysDoNotKeepASessionOpen() throws {
    for (options, commands, received, end) in [
      (["--command-timeout", "2"], "", "421 4.4.2 Timed out, closing connection", "command timeout"),
      (["--idle-timeout", "2"], "MAIL FROM:<a@client.example>;RCPT TO:<b@mx.example>;DATA", "", "relay idle"),
    ] {
      let daemon = try daemon(options)
      let result = try run(["/usr/bin/python3", "-ISc", KeyUpdateIdleTests.client, "\(daemon.port)", commands])
      let words = result.output.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      XCTAssertEqual(words.first, received, result.output)
      XCTAssertGreaterThan(Int(words.last ?? "") ?? 0, 2, "updates until the end: \(result.output)")
      XCTAssertEqual(try daemon.session()["end"], end)
    }
  }

  /// A GnuTLS client that does STARTTLS, sends commands, and updates its keys seven times a second until the server ends the
  /// session. Prints what it received then, and the number of updates.
  private static let client = GnuTLSScript.beginning + #"""
    import ctypes, select, socket, sys

    port, commands = int(sys.argv[1]), [line for line in sys.argv[2].split(';') if line]
    connection = socket.create_connection(('127.0.0.1', port))
    clear = connection.makefile('rb')
    def reply():
        while (line := clear.readline())[3:4] == b'-':
            pass
        return line
    reply()
    for command in (b'EHLO client.example\r\n', b'STARTTLS\r\n'):
        connection.sendall(command)
        answer = reply()
    assert answer.startswith(b'220'), answer

    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    check(tls.gnutls_init(ctypes.byref(session), 2 | 8))
    check(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    check(tls.gnutls_credentials_set(session, 1, credentials))
    check(tls.gnutls_priority_set_direct(session, b'NORMAL:-VERS-ALL:+VERS-TLS1.3', None))
    connection.setblocking(False)
    tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
    while check(tls.gnutls_handshake(session)) in AGAIN:
        select.select([connection], [], [], 10)

    buffer = ctypes.create_string_buffer(4096)
    def receive(patience):
        """What has come; None at the end, b'' if nothing comes."""
        while True:
            count = tls.gnutls_record_recv(session, buffer, len(buffer))
            if count > 0:
                return buffer.raw[:count]
            if count not in AGAIN:
                return None
            if not select.select([connection], [], [], patience)[0]:
                return b''

    for command in ['EHLO client.example'] + commands:
        octets = f'{command}\r\n'.encode()
        check(tls.gnutls_record_send(session, octets, len(octets)))
        text = b''
        while not text.endswith(b'\r\n') or text.splitlines()[-1][3:4] == b'-':
            text += receive(10)
    last, updates = b'', 0
    while (octets := receive(0.15)) is not None:
        last += octets
        if not octets and not last and check(tls.gnutls_session_key_update(session, 0)) == 0:
            updates += 1
    print(last.decode().strip(), updates, sep='|', end='')
    """#
}
