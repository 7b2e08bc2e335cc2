/*
 * server: the SMTP server of the benchmark on a port of the loopback, as cheap as it can be: one process with one epoll loop.
 *
 *     server PORT                             in clear, the backend of those that connect to a server
 *     server PORT STARTTLS                    the same, but it lists STARTTLS, as the front-ends do: the bound of sessions in clear
 *     server PORT CERTIFICATE KEY WORKERS     with STARTTLS by GnuTLS, in so many processes: what the handshakes alone allow
 *
 * The second one is the bound of a front-end with the same TLS library: it has no backend, no limits, no log, no key process.
 */
#define _GNU_SOURCE
#include "dialogue.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct client {
  int socket;
  enum { COMMANDS, TEXT, HANDSHAKE, SENDING } phase;
  gnutls_session_t tls;
  /* SENDING: so many octets of lines are left, of so many. */
  long long left, all;
  size_t count;
  char last[5];
  char line[1024];
};

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priorities;
static bool lists_starttls;
static int poll_queue;
enum { AT_ONCE = 1 << 16 };
static char text[AT_ONCE], lines[AT_ONCE + 64];

static bool put(struct client *c, const char *octets) {
  size_t count = strlen(octets);
  return (c->tls ? gnutls_record_send(c->tls, octets, count) : send(c->socket, octets, count, MSG_NOSIGNAL)) == (ssize_t)count;
}

/* As recv: -1 means that nothing is there yet. */
static ssize_t get(struct client *c, char *octets, size_t count) {
  ssize_t got;
  if (!c->tls) {
    got = recv(c->socket, octets, count, 0);
    return got < 0 && errno != EAGAIN ? 0 : got;
  }
  got = gnutls_record_recv(c->tls, octets, count);
  if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED) return -1;
  return got < 0 ? 0 : got;
}

static void watch(struct client *c, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  epoll_ctl(poll_queue, EPOLL_CTL_MOD, c->socket, &event);
}

/* Sends lines until the socket takes no more, and the reply after them. False: the session is over. */
static bool put_lines(struct client *c) {
  while (c->left > 0) {
    const char *from = lines + (c->all - c->left) % 64;
    size_t count = c->left < AT_ONCE ? (size_t)c->left : AT_ONCE;
    /* The library wants the same octets again after it could not send them. */
    ssize_t sent = c->tls ? gnutls_record_send(c->tls, from, count) : send(c->socket, from, count, MSG_NOSIGNAL);
    if (c->tls ? sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED : sent < 0 && errno == EAGAIN) {
      watch(c, EPOLLOUT);
      return true;
    }
    if (sent <= 0) return false;
    c->left -= sent;
  }
  c->phase = COMMANDS;
  watch(c, EPOLLIN);
  return put(c, OK);
}

static void begin_tls(struct client *c) {
  gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);
  gnutls_priority_set(c->tls, priorities);
  gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, credentials);
  gnutls_transport_set_int(c->tls, c->socket);
  c->phase = HANDSHAKE;
}

/* Processes the complete lines. False: the session is over. */
static bool process_lines(struct client *c) {
  char *end;
  while (c->phase == COMMANDS && (end = memchr(c->line, '\n', c->count))) {
    const char *reply = reply_to(c->line, lists_starttls && !c->tls);
    c->left = c->all = octets_to_send(c->line);
    if (c->left > 0) c->phase = SENDING;
    else if (!put(c, reply)) return false;
    c->count -= (size_t)(end + 1 - c->line);
    memmove(c->line, end + 1, c->count);
    if (!memcmp(reply, "221", 3)) {
      if (c->tls) gnutls_bye(c->tls, GNUTLS_SHUT_WR);
      return false;
    }
    if (!memcmp(reply, "354", 3)) c->phase = TEXT;
    if (!memcmp(reply, "220", 3)) {
      if (!credentials) return false;
      begin_tls(c);
    }
  }
  return c->count < sizeof c->line;
}

/* Serves what has arrived. False: the session is over. */
static bool serve(struct client *c) {
  for (;;) {
    if (c->phase == SENDING) {
      if (!put_lines(c)) return false;
      if (c->phase == SENDING) return true;
    } else if (c->phase == HANDSHAKE) {
      int result = gnutls_handshake(c->tls);
      if (result < 0) return !gnutls_error_is_fatal(result);
      c->phase = COMMANDS;
    } else if (c->phase == TEXT) {
      ssize_t got = get(c, text, sizeof text);
      if (got <= 0) return got < 0;
      if (ends_text(c->last, text, (size_t)got)) {
        c->phase = COMMANDS;
        if (!put(c, OK)) return false;
      }
    } else {
      ssize_t got = get(c, c->line + c->count, sizeof c->line - c->count);
      if (got <= 0) return got < 0;
      c->count += (size_t)got;
      if (!process_lines(c)) return false;
      /* A client waits for the reply. So nothing more is there, except records of TLS that are already read. */
      if (c->phase == COMMANDS && !(c->tls && gnutls_record_check_pending(c->tls))) return true;
    }
  }
}

static void loop(int listener) {
  poll_queue = epoll_create1(0);
  make_lines(lines, sizeof lines);
  struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL}, events[64];
  epoll_ctl(poll_queue, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int count = epoll_wait(poll_queue, events, 64, -1);
    for (int i = 0; i < count; i++) {
      struct client *c = events[i].data.ptr;
      if (!c) {
        int on = 1, socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0) continue;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c = calloc(1, sizeof *c);
        c->socket = socket;
        event = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll_queue, EPOLL_CTL_ADD, socket, &event);
        put(c, GREETING);
      } else if (!serve(c)) {
        if (c->tls) gnutls_deinit(c->tls);
        close(c->socket);
        free(c);
      }
    }
  }
}

int main(int count, char **words) {
  if (count != 2 && count != 3 && count != 5) {
    fprintf(stderr, "usage: server PORT [STARTTLS | CERTIFICATE KEY WORKERS]\n");
    return 100;
  }
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
    perror("server: listen");
    return 111;
  }
  lists_starttls = count > 2;
  if (count < 5) loop(listener);
  gnutls_certificate_allocate_credentials(&credentials);
  int result = gnutls_certificate_set_x509_key_file(credentials, words[2], words[3], GNUTLS_X509_FMT_PEM);
  if (result < 0) {
    fprintf(stderr, "server: %s: %s\n", words[2], gnutls_strerror(result));
    return 111;
  }
  gnutls_priority_init(&priorities, "NORMAL", NULL);
  for (int workers = atoi(words[4]); workers > 0; workers--)
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      loop(listener);
    }
  for (;;) wait(NULL);
}
