/*
 * client: one blocking SMTP client, in clear or with TLS, as the relay and the transfer have it.
 *
 * What fails ends the program with a line on standard error. A server that is silent for 30 seconds fails.
 */

#ifndef CLIENT_H
#define CLIENT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "context.h"

static int connection;
static SSL *tls;

static void fail(const char *what) {
  fprintf(stderr, "client: %s\n", what);
  exit(1);
}

static void put(const char *octets, size_t count) {
  for (size_t sent = 0; sent < count;) {
    ssize_t now = tls ? SSL_write(tls, octets + sent, (int)(count - sent)) : send(connection, octets + sent, count - sent, MSG_NOSIGNAL);
    if (now <= 0) fail("cannot send");
    sent += (size_t)now;
  }
}

static size_t get(char *octets, size_t count) {
  ssize_t got = tls ? SSL_read(tls, octets, (int)count) : recv(connection, octets, count, 0);
  if (got <= 0) fail("the server has closed the connection, or is silent");
  return (size_t)got;
}

static void ask(const char *command, const char *code) {
  char text[4096];
  size_t count = 0, line = 0;
  put(command, strlen(command));
  for (;;) {
    if (count == sizeof text - 1) fail("a long reply");
    count += get(text + count, sizeof text - 1 - count);
    text[count] = 0;
    for (char *end; (end = strchr(text + line, '\n')); line = (size_t)(end + 1 - text))
      if (text[line + 3] == ' ') {
        if (memcmp(text + line, code, 3)) fail(text + line);
        return;
      }
  }
}

static void begin_tls(void) {
  SSL_CTX *context = client_context();
  if (!context) fail("OpenSSL");
  tls = SSL_new(context);
  SSL_set_fd(tls, connection);
  if (SSL_connect(tls) != 1) fail("the handshake has failed");
}

/* The session up to the reply to RCPT. kind: clear, starttls, or tls, which begins with the handshake. */
static void begin_message(const char *port, const char *kind) {
  int on = 1;
  struct timeval patience = {.tv_sec = 30};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  /* TLS writes without MSG_NOSIGNAL. */
  signal(SIGPIPE, SIG_IGN);
  connection = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
  if (!strcmp(kind, "tls")) begin_tls();
  ask("", "220");
  ask("EHLO load.example\r\n", "250");
  if (!strcmp(kind, "starttls")) {
    ask("STARTTLS\r\n", "220");
    begin_tls();
    ask("EHLO load.example\r\n", "250");
  }
  ask("MAIL FROM:<somebody@load.example>\r\n", "250");
  ask("RCPT TO:<sink@backend.example>\r\n", "250");
}

#endif
