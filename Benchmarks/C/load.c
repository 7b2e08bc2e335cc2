/*
 * load: SMTP clients that connect again and again, for a number of seconds, and a line with what they did.
 *
 *     load HOST PORT tls|clear CONNECTIONS SECONDS
 *
 * A session with TLS is: greeting, EHLO, STARTTLS, handshake (certificates are not verified), EHLO, QUIT, close_notify. In clear:
 * greeting, EHLO, QUIT. CONNECTIONS threads each hold one session at a time. Prints `sessions seconds failures`, and the median and
 * the 99th percentile of the duration of a session in milliseconds. A failure is a session that did not come to its 221.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address;
static bool uses_tls;
static double end;
static gnutls_certificate_credentials_t credentials;

enum { MOST_SAMPLES = 1 << 17 };
struct client {
  pthread_t thread;
  long sessions, failures;
  float *samples;
  int socket;
  gnutls_session_t tls;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static ssize_t get(struct client *c, char *octets, size_t count) {
  if (!c->tls) return recv(c->socket, octets, count, 0);
  ssize_t got;
  do got = gnutls_record_recv(c->tls, octets, count);
  while (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED);
  return got;
}

static bool put(struct client *c, const char *text) {
  ssize_t count = (ssize_t)strlen(text);
  if (!c->tls) return send(c->socket, text, (size_t)count, MSG_NOSIGNAL) == count;
  return gnutls_record_send(c->tls, text, (size_t)count) == count;
}

/* Reads to the end of a reply, and returns whether it has the code. */
static bool reply(struct client *c, const char *code) {
  char text[4096];
  size_t count = 0;
  while (count < sizeof text) {
    ssize_t got = get(c, text + count, sizeof text - count);
    if (got <= 0) return false;
    count += (size_t)got;
    if (text[count - 1] != '\n') continue;
    size_t line = count - 1;
    while (line > 0 && text[line - 1] != '\n') line--;
    if (count - line > 4 && text[line + 3] == ' ') return memcmp(text + line, code, 3) == 0;
  }
  return false;
}

static bool handshake(struct client *c) {
  gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
  gnutls_priority_set_direct(c->tls, "NORMAL", NULL);
  gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, credentials);
  gnutls_transport_set_int(c->tls, c->socket);
  int result;
  do result = gnutls_handshake(c->tls);
  while (result < 0 && !gnutls_error_is_fatal(result));
  return result == 0;
}

static bool session(struct client *c) {
  struct timeval patience = {20, 0};
  int on = 1;
  c->socket = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bool done = connect(c->socket, (struct sockaddr *)&address, sizeof address) == 0 && reply(c, "220") &&
              put(c, "EHLO load.example\r\n") && reply(c, "250");
  if (done && uses_tls)
    done = put(c, "STARTTLS\r\n") && reply(c, "220") && handshake(c) && put(c, "EHLO load.example\r\n") && reply(c, "250");
  done = done && put(c, "QUIT\r\n") && reply(c, "221");
  if (c->tls) {
    if (done) gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    gnutls_deinit(c->tls);
    c->tls = NULL;
  }
  close(c->socket);
  return done;
}

static void *run(void *argument) {
  struct client *c = argument;
  double begin = now();
  while (begin < end) {
    bool done = session(c);
    double after = now();
    if (!done) {
      c->failures++;
      usleep(10000);
    } else if (c->sessions < MOST_SAMPLES) {
      c->samples[c->sessions++] = (float)((after - begin) * 1e3);
    }
    begin = now();
  }
  return NULL;
}

static int compare(const void *one, const void *other) {
  float difference = *(const float *)one - *(const float *)other;
  return (difference > 0) - (difference < 0);
}

int main(int count, char **words) {
  if (count != 6) {
    fprintf(stderr, "usage: load HOST PORT tls|clear CONNECTIONS SECONDS\n");
    return 100;
  }
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)atoi(words[2]));
  inet_pton(AF_INET, words[1], &address.sin_addr);
  uses_tls = strcmp(words[3], "tls") == 0;
  int connections = atoi(words[4]);
  gnutls_certificate_allocate_credentials(&credentials);
  struct client *clients = calloc((size_t)connections, sizeof *clients);
  double begin = now();
  end = begin + atof(words[5]);
  for (int i = 0; i < connections; i++) {
    clients[i].samples = malloc(MOST_SAMPLES * sizeof(float));
    pthread_create(&clients[i].thread, NULL, run, &clients[i]);
  }
  long sessions = 0, failures = 0;
  for (int i = 0; i < connections; i++) {
    pthread_join(clients[i].thread, NULL);
    sessions += clients[i].sessions;
    failures += clients[i].failures;
  }
  double seconds = now() - begin;
  float *all = malloc(((size_t)sessions + 1) * sizeof *all);
  size_t next = 0;
  for (int i = 0; i < connections; i++) {
    memcpy(all + next, clients[i].samples, (size_t)clients[i].sessions * sizeof *all);
    next += (size_t)clients[i].sessions;
  }
  qsort(all, next, sizeof *all, compare);
  printf("%ld %.3f %ld %.3f %.3f\n", sessions, seconds, failures, next ? all[next / 2] : 0, next ? all[next * 99 / 100] : 0);
  return 0;
}
