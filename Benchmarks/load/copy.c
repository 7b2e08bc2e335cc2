/*
 * copy: the least relay: accepts a connection, connects to a port of the loopback, and copies octets in both directions until one of
 * them ends. Then it accepts the next connection.
 *
 *     copy PORT TO [splice]
 *
 * With `splice` the octets do not come to this process: they go from one socket to the other by way of a pipe. Both sockets block then: what
 * the flag SPLICE_F_NONBLOCK does not change.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char octets[1 << 16];
static int ends[2];
static bool splices;

static bool copy(int from, int to) {
  if (splices) {
    ssize_t got = splice(from, NULL, ends[1], NULL, sizeof octets, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    for (ssize_t sent = 0, now; sent < got; sent += now)
      if ((now = splice(ends[0], NULL, to, NULL, (size_t)(got - sent), SPLICE_F_MOVE)) <= 0) return false;
    return got > 0;
  }
  ssize_t got = recv(from, octets, sizeof octets, 0);
  for (ssize_t sent = 0, now; sent < got; sent += now)
    if ((now = send(to, octets + sent, (size_t)(got - sent), MSG_NOSIGNAL)) < 0) return false;
  return got > 0;
}

static void relay(int client, int server) {
  struct pollfd both[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
  for (;;) {
    if (poll(both, 2, -1) < 0) return;
    if (both[0].revents && !copy(client, server)) return;
    if (both[1].revents && !copy(server, client)) return;
  }
}

static struct sockaddr_in loopback(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int main(int count, char **words) {
  if (count != 3 && count != 4) return 100;
  splices = count == 4;
  if (splices && pipe(ends)) return 111;
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in here = loopback(words[1]), there = loopback(words[2]);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 64)) {
    perror("copy: listen");
    return 111;
  }
  for (;;) {
    int client = accept(listener, NULL, NULL);
    if (client < 0) continue;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(server, (struct sockaddr *)&there, sizeof there) == 0) relay(client, server);
    close(server);
    close(client);
  }
}
