// KeyUpdateTests: a client that updates its keys, and has the server update its own, while a hundred mebibytes move both
// ways. The server program is cat.

import Foundation
import XCTest

final class KeyUpdateTests: UCSPITestCase {
  func testAHundredMebibytesBothWays() throws {
    let listener = try TestListener()
    let output = "\(folder.path)/client"
    let client = try SpawnedProgram(
      ["/usr/bin/python3", "-ISc", KeyUpdateTests.client, "\(listener.port)", "\(100 << 20)"], output: .file(output), errors: .file(output))
    let connection = try listener.accept()
    let channel = TestDescriptor.sockets()
    let cat = try SpawnedProgram(["cat"], input: .descriptor(channel.0.number), output: .descriptor(channel.0.number))
    let process = try start(
      [try Programs.path("tlsd-io"), "-v", "2", "5", "5"], [0: connection, 1: connection, 5: channel.1], credentials())
    for one in [connection, channel.0, channel.1] { one.close() }
    XCTAssertEqual(client.wait(within: 4 * Deadline.seconds), .exited(0))
    let printed = String(decoding: FileManager.default.contents(atPath: output) ?? Data(), as: UTF8.self)
    let words = printed.split(whereSeparator: { $0 == " " || $0 == "\n" })
    XCTAssertEqual(words.first, "equal", printed)
    let counts = words.dropFirst().compactMap { Int($0) }
    XCTAssertEqual(counts.count, 2, printed)
    // Each update asks the server for one; two requests that it gets without sending anything between get one answer.
    for count in counts { XCTAssertGreaterThanOrEqual(count, 20, printed) }
    XCTAssertEqual(process.wait(), .exited(0), process.errors)
    XCTAssertEqual(cat.wait(), .exited(0))
    for one in [client, cat] { one.kill() }
  }

  /// A GnuTLS client that sends so many octets, receives them again, and compares them. It updates its keys after each 4 MiB, with a
  /// request to the server, and at most five times a second: GnuTLS permits eight. It prints how many updates it sent and received.
  private static let client = GnuTLSScript.beginning + #"""
    import ctypes, hashlib, select, socket, sys, time

    port, total = int(sys.argv[1]), int(sys.argv[2])
    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    check(tls.gnutls_init(ctypes.byref(session), 2 | 8))
    check(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    check(tls.gnutls_credentials_set(session, 1, credentials))
    check(tls.gnutls_priority_set_direct(session, b'NORMAL:-VERS-ALL:+VERS-TLS1.3', None))
    connection = socket.create_connection(('127.0.0.1', port))
    connection.setblocking(False)
    tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
    while check(tls.gnutls_handshake(session)) in AGAIN:
        select.select([connection], [], [], 10)

    block = hashlib.shake_256(b'block').digest(1 << 20)
    sent = received = updates = 0
    up, down = hashlib.sha256(), hashlib.sha256()
    buffer = ctypes.create_string_buffer(1 << 16)
    due, pending, updating = 0, None, False

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)
    def look(_, message, when, incoming, octets):
        global answers
        answers += incoming
        return 0

    answers = 0
    # GNUTLS_HANDSHAKE_KEY_UPDATE, GNUTLS_HOOK_PRE: RFC 8446, 4.6.3.
    tls.gnutls_handshake_set_hook_function(session, 24, 0, look)
    while received < total:
        # What was begun is completed first.
        moved = False
        isDue = pending is None and sent < total and sent >= updates * (4 << 20)
        if updating or (isDue and time.monotonic() >= due):
            updating = check(tls.gnutls_session_key_update(session, 1)) in AGAIN
            if not updating:
                updates, due, moved = updates + 1, time.monotonic() + 0.2, True
        elif isDue:
            pass
        elif sent < total or pending is not None:
            if pending is None:
                start = sent % len(block)
                pending = block[start:start + 16384]
            count = check(tls.gnutls_record_send(session, pending, len(pending)))
            if count > 0:
                up.update(pending[:count])
                sent, pending, moved = sent + count, None, True
        count = check(tls.gnutls_record_recv(session, buffer, len(buffer)))
        if count == 0:
            sys.exit(f'ended after {received} octets')
        if count > 0:
            down.update(buffer.raw[:count])
            received, moved = received + count, True
        if not moved:
            waits = not isDue and (sent < total or pending is not None) or updating
            select.select([connection], [connection] if waits else [], [], max(0.001, due - time.monotonic()) if isDue else 10)
    print('equal' if up.digest() == down.digest() else 'different', updates, answers, flush=True)
    while tls.gnutls_bye(session, 1) in AGAIN:
        select.select([], [connection], [], 10)
    connection.close()
    """#
}
