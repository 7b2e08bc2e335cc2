/* HandshakePeer: a TLS client of GnuTLS, and a handshake of the library alone, for handshake-bench. */

#ifndef HANDSHAKE_PEER_H
#define HANDSHAKE_PEER_H

typedef struct peer_client peer_client;

/* A client with this priority string on a socket, which stays the caller's; NULL on failure. It verifies nothing. */
peer_client *peer_client_create(int socket, const char *priorities);

/* 1 when the handshake is complete, 0 when it has to wait, -1 if it failed. */
int peer_client_handshake(peer_client *client);

void peer_client_destroy(peer_client *client);

/* The credentials of a server of the library alone; NULL on failure. They live until the process ends. */
void *peer_server_credentials(const char *certificate, const char *key);

/* A handshake with both ends in memory, as `gnutls-cli --benchmark-tls-kx` makes it: 1, or -1 if it failed. */
int peer_bare_handshake(void *credentials, const char *priorities);

#endif
