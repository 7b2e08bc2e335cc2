/*
 * context: the TLS of the clients, as the load and the relay have it.
 *
 * The server's highest version is agreed on: 1.3, or 1.2 if it has no more. In both the key exchange is X25519 (P-256 is listed because
 * version 1.2 has one list for the exchange and for the certificate's key), and the cipher AES-256-GCM with SHA-384. No session is ever resumed: none is stored, and version 1.2 offers no tickets.
 */

#ifndef CONTEXT_H
#define CONTEXT_H

#include <openssl/ssl.h>

/* NULL if OpenSSL does not have what is asked for. */
static inline SSL_CTX *client_context(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  if (!context) return NULL;
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  int has_all = SSL_CTX_set1_groups_list(context, "X25519:P-256") && SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") &&
                SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384");
  return has_all ? context : NULL;
}

#endif
