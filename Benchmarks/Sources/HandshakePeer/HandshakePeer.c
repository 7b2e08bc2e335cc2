/* The client and the bare handshake. GnuTLS is asked in the simplest way; what it costs is the measure. */

#include "HandshakePeer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

struct peer_client {
  gnutls_session_t session;
};

static gnutls_priority_t cached;
static char *cached_text;
static gnutls_certificate_credentials_t nothing;

/* Parsed once: the measure is the handshake. */
static gnutls_priority_t priorities_of(const char *text) {
  if (cached_text != NULL && strcmp(cached_text, text) == 0) return cached;
  if (gnutls_priority_init(&cached, text, NULL) < 0) return NULL;
  free(cached_text);
  cached_text = strdup(text);
  return cached;
}

static gnutls_session_t client_session(const char *priorities) {
  gnutls_session_t session;
  if (nothing == NULL && gnutls_certificate_allocate_credentials(&nothing) < 0) return NULL;
  if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK) < 0) return NULL;
  gnutls_priority_set(session, priorities_of(priorities));
  gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, nothing);
  return session;
}

peer_client *peer_client_create(int socket, const char *priorities) {
  peer_client *client = malloc(sizeof *client);
  if (client == NULL || (client->session = client_session(priorities)) == NULL) return NULL;
  gnutls_transport_set_int(client->session, socket);
  return client;
}

static int outcome(int code) {
  if (code == GNUTLS_E_SUCCESS) return 1;
  return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED ? 0 : -1;
}

int peer_client_handshake(peer_client *client) { return outcome(gnutls_handshake(client->session)); }

void peer_client_destroy(peer_client *client) {
  gnutls_deinit(client->session);
  free(client);
}

void *peer_server_credentials(const char *certificate, const char *key) {
  gnutls_certificate_credentials_t credentials;
  if (gnutls_certificate_allocate_credentials(&credentials) < 0) return NULL;
  if (gnutls_certificate_set_x509_key_file(credentials, certificate, key, GNUTLS_X509_FMT_PEM) < 0) return NULL;
  return credentials;
}

/* Octets on their way from one end to the other. */
struct direction {
  unsigned char octets[65536];
  size_t start, end;
};

struct ends {
  struct direction *from, *to;
  gnutls_session_t session;
};

static ssize_t push(gnutls_transport_ptr_t context, const void *octets, size_t count) {
  struct direction *to = ((struct ends *)context)->to;
  if (count > sizeof to->octets - to->end) return -1;
  memcpy(to->octets + to->end, octets, count);
  to->end += count;
  return (ssize_t)count;
}

static ssize_t pull(gnutls_transport_ptr_t context, void *octets, size_t count) {
  struct ends *ends = context;
  struct direction *from = ends->from;
  if (from->start == from->end) {
    gnutls_transport_set_errno(ends->session, EAGAIN);
    return -1;
  }
  if (count > from->end - from->start) count = from->end - from->start;
  memcpy(octets, from->octets + from->start, count);
  from->start += count;
  return (ssize_t)count;
}

static int connect_ends(struct ends *ends) {
  gnutls_transport_set_ptr(ends->session, ends);
  gnutls_transport_set_push_function(ends->session, push);
  gnutls_transport_set_pull_function(ends->session, pull);
  return 0;
}

int peer_bare_handshake(void *credentials, const char *priorities) {
  static struct direction up, down;
  up.start = up.end = down.start = down.end = 0;
  struct ends client = {&down, &up, client_session(priorities)}, server = {&up, &down, NULL};
  if (client.session == NULL || gnutls_init(&server.session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS) < 0) return -1;
  gnutls_priority_set(server.session, priorities_of(priorities));
  gnutls_credentials_set(server.session, GNUTLS_CRD_CERTIFICATE, credentials);
  connect_ends(&client);
  connect_ends(&server);
  int one = 0, other = 0;
  while (one >= 0 && other >= 0 && !(one == 1 && other == 1)) {
    if (one == 0) one = outcome(gnutls_handshake(client.session));
    if (other == 0) other = outcome(gnutls_handshake(server.session));
  }
  gnutls_deinit(client.session);
  gnutls_deinit(server.session);
  return one == 1 && other == 1 ? 1 : -1;
}
