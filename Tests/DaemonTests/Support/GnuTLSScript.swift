// GnuTLSScript: Python scripts that call GnuTLS, for clients that no tool can be made to be.

enum GnuTLSScript {
  /// Loads the library; `check` ends the script with the library's text for an error.
  static let beginning = #"""
    import ctypes, sys

    tls = ctypes.CDLL('libgnutls.so.30')
    tls.gnutls_strerror.restype = ctypes.c_char_p
    tls.gnutls_record_send.restype = tls.gnutls_record_recv.restype = ctypes.c_ssize_t
    tls.gnutls_record_send.argtypes = tls.gnutls_record_recv.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    AGAIN = (-28, -52)

    def check(code):
        if code < 0 and code not in AGAIN:
            sys.exit(f'{code}: {tls.gnutls_strerror(code).decode()}')
        return code

    """#
}
