/*
 * stages: a TLS server of one session with GnuTLS alone, which ends after one of its stages: what each one costs is the difference.
 *
 *     stages priorities|certificate|compare|session|handshake FORM CERTIFICATE KEY [exit]
 *
 * FORM is pem or der. `certificate` compares nothing; `compare` lets the library test if the key belongs to the certificate, which it
 * does by a signature, and ends there. The client is the socket on standard input and output. With `exit` it ends by exit(3), otherwise by
 * _exit(2).
 */
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char priorities[] =
  "NONE:+VERS-TLS1.3:+VERS-TLS1.2:+CTYPE-X509:+COMP-NULL:+ECDHE-ECDSA:+ECDHE-RSA:+AES-256-GCM:+AEAD:+SIGN-ALL:+GROUP-X25519:+GROUP-SECP256R1";

static void need(int code) {
  if (code >= 0) return;
  fprintf(stderr, "stages: %s\n", gnutls_strerror(code));
  exit(111);
}

int main(int count, char **words) {
  if (count < 5) return 100;
  const char *last = words[1];
  bool returns = count > 5;
  gnutls_priority_t parsed;
  need(gnutls_priority_init(&parsed, priorities, NULL));
  if (strcmp(last, "priorities")) {
    bool compares = !strcmp(last, "compare");
    gnutls_certificate_credentials_t credentials;
    need(gnutls_certificate_allocate_credentials(&credentials));
    if (!compares) gnutls_certificate_set_flags(credentials, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
    need(gnutls_certificate_set_x509_key_file(credentials, words[3], words[4], strcmp(words[2], "der") ? GNUTLS_X509_FMT_PEM : GNUTLS_X509_FMT_DER));
    if (!compares && strcmp(last, "certificate")) {
      gnutls_session_t session;
      need(gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NO_TICKETS));
      need(gnutls_priority_set(session, parsed));
      need(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials));
      if (strcmp(last, "session")) {
        gnutls_transport_set_int2(session, STDIN_FILENO, STDOUT_FILENO);
        int code;
        do code = gnutls_handshake(session);
        while (code < 0 && !gnutls_error_is_fatal(code));
        need(code);
        char octet;
        gnutls_bye(session, GNUTLS_SHUT_WR);
        while (gnutls_record_recv(session, &octet, 1) > 0) {}
      }
    }
  }
  if (!returns) _exit(0);
  return 0;
}
