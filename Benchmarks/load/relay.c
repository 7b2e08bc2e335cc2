/*
 * relay: one client that sends a long message, and how many octets a second arrive.
 *
 *     relay PORT clear|starttls|tls SECONDS
 *
 * The session is: greeting, EHLO, [STARTTLS, handshake, EHLO,] MAIL, RCPT to sink@backend.example, DATA. With `tls` it begins with the
 * handshake. Then lines of text in writes of 64 KiB for SECONDS, the dot, and the reply, which arrives when the server has read all.
 * Prints one line of JSON: MB (10^6 octets) a second, and the part of a processor that this client has used.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "context.h"
#include "times.h"

static int connection;
static SSL *tls;

static void fail(const char *what) {
  fprintf(stderr, "relay: %s\n", what);
  exit(1);
}

static void put(const char *octets, size_t count) {
  for (size_t sent = 0; sent < count;) {
    ssize_t now = tls ? SSL_write(tls, octets + sent, (int)(count - sent)) : send(connection, octets + sent, count - sent, MSG_NOSIGNAL);
    if (now <= 0) fail("cannot send");
    sent += (size_t)now;
  }
}

static void ask(const char *command, const char *code) {
  char text[4096];
  size_t count = 0, line = 0;
  put(command, strlen(command));
  for (;;) {
    ssize_t got = tls ? SSL_read(tls, text + count, (int)(sizeof text - 1 - count)) : recv(connection, text + count, sizeof text - 1 - count, 0);
    if (got <= 0) fail("the server has closed the connection, or is silent");
    count += (size_t)got;
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

int main(int count, char **words) {
  if (count != 4) return 100;
  int on = 1, with_starttls = !strcmp(words[2], "starttls");
  struct timeval patience = {.tv_sec = 30};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connection = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
  if (!strcmp(words[2], "tls")) begin_tls();
  ask("", "220");
  ask("EHLO load.example\r\n", "250");
  if (with_starttls) {
    ask("STARTTLS\r\n", "220");
    begin_tls();
    ask("EHLO load.example\r\n", "250");
  }
  ask("MAIL FROM:<somebody@load.example>\r\n", "250");
  ask("RCPT TO:<sink@backend.example>\r\n", "250");
  ask("DATA\r\n", "354");
  static char text[1 << 16];
  for (size_t i = 0; i < sizeof text; i++) text[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
  double begin = now(), end = begin + atof(words[3]), processor = processor_time(), sent = 0;
  do {
    for (int i = 0; i < 16; i++) put(text, sizeof text);
    sent += 16 * sizeof text;
  } while (now() < end);
  ask(".\r\n", "250");
  double seconds = now() - begin;
  printf("{\"rate\": %.1f, \"octets\": %.0f, \"client\": %.3f}\n", sent / seconds / 1e6, sent, (processor_time() - processor) / seconds);
  return 0;
}
