"""A TLS 1.2 server that renegotiates, with GnuTLS: OpenSSL, and so Python's module ssl, does not do all of this."""
import ctypes
import socket

LIBRARY = ctypes.CDLL("libgnutls.so.30")
REHANDSHAKE = -37
LIBRARY.gnutls_record_recv.restype = LIBRARY.gnutls_record_send.restype = ctypes.c_ssize_t
LIBRARY.gnutls_record_recv.argtypes = LIBRARY.gnutls_record_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]


def serve(connection: socket.socket, certificate, priority: str, asks: bool) -> None:
    """Does the handshake, answers each command, and accepts each renegotiation. Returns at the end of the connection.

    With `asks` it requests a renegotiation after the handshake, and goes on without one.
    """
    connection.settimeout(None)
    session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    LIBRARY.gnutls_init(ctypes.byref(session), 1)
    LIBRARY.gnutls_certificate_allocate_credentials(ctypes.byref(credentials))
    try:
        assert LIBRARY.gnutls_certificate_set_x509_key_file(credentials, certificate.chain.encode(), certificate.key.encode(), 1) >= 0
        assert LIBRARY.gnutls_priority_set_direct(session, f"NORMAL:-VERS-ALL:+VERS-TLS1.2{priority}".encode(), None) == 0
        LIBRARY.gnutls_credentials_set(session, 1, credentials)
        LIBRARY.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
        if LIBRARY.gnutls_handshake(session) == 0:
            if asks:
                LIBRARY.gnutls_rehandshake(session)
            answer(session)
    finally:
        LIBRARY.gnutls_deinit(session)
        LIBRARY.gnutls_certificate_free_credentials(credentials)


def answer(session: ctypes.c_void_p) -> None:
    buffer = ctypes.create_string_buffer(16384)
    while True:
        count = LIBRARY.gnutls_record_recv(session, buffer, len(buffer))
        if count == REHANDSHAKE:
            if LIBRARY.gnutls_handshake(session) != 0:
                return
        elif count > 0:
            reply = b"221 2.0.0 Bye\r\n" if buffer.raw[:4] == b"QUIT" else b"250 2.0.0 OK\r\n"
            LIBRARY.gnutls_record_send(session, reply, len(reply))
        else:
            return
