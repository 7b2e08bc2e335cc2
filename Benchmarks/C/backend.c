/*
 * backend: the least SMTP server that a benchmark needs: EHLO, MAIL, RCPT (refused), NOOP, RSET, QUIT.
 *
 *     backend          one session on descriptors 0 and 1
 *     backend PORT     listens on the loopback, one process for each connection
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static bool say(int out, const char *text) { return write(out, text, strlen(text)) == (ssize_t)strlen(text); }

static void serve(int in, int out) {
  char line[1024];
  size_t count = 0;
  if (!say(out, "220 backend.example ESMTP\r\n")) return;
  for (;;) {
    ssize_t got = read(in, line + count, sizeof line - count);
    if (got <= 0) return;
    count += (size_t)got;
    char *end;
    while ((end = memchr(line, '\n', count))) {
      bool goes_on;
      if (!strncasecmp(line, "EHLO", 4))
        goes_on = say(out, "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n");
      else if (!strncasecmp(line, "RCPT", 4))
        goes_on = say(out, "550 5.7.1 No relaying\r\n");
      else if (!strncasecmp(line, "QUIT", 4)) {
        say(out, "221 2.0.0 Bye\r\n");
        return;
      } else
        goes_on = say(out, "250 2.0.0 OK\r\n");
      if (!goes_on) return;
      count -= (size_t)(end + 1 - line);
      memmove(line, end + 1, count);
    }
    if (count == sizeof line) return;
  }
}

int main(int count, char **words) {
  if (count < 2) {
    serve(0, 1);
    return 0;
  }
  signal(SIGCHLD, SIG_IGN);
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) return 111;
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) continue;
    if (fork() == 0) {
      close(listener);
      serve(connection, connection);
      _exit(0);
    }
    close(connection);
  }
}
