/*
 * load: SMTP clients that connect again and again, in one process with one epoll loop, so that the server is what is measured.
 *
 *     load sessions PORT clear|starttls CONNECTIONS SECONDS
 *     load count PORT clear|starttls COUNT
 *     load hold PORT clear|starttls CONNECTIONS
 *     load check PORT clear|starttls
 *
 * A session is: greeting, EHLO, [STARTTLS, handshake, EHLO,] MAIL, RCPT (which the server refuses), QUIT. Each reply must have its
 * code, and EHLO must list STARTTLS in clear and not inside TLS; otherwise the session has failed. TLS is OpenSSL's, see context.h; the
 * certificate is not verified, its signature of the handshake is.
 *
 * sessions: keeps CONNECTIONS sessions open at a time, which it opens at a rate of 1,000 in half of SECONDS: if all began at once, they
 * would end at once as well. Prints `begin` when as many sessions have ended, at the latest after one and a half times SECONDS, and counts
 * from then on for SECONDS, or up to three times that while none has ended. Then it prints one line of JSON and ends.
 * count: COUNT sessions one after the other. hold: opens CONNECTIONS sessions up to MAIL, 200 at a time, prints `begin`, and ends with its
 * input.
 * check: one session. Prints the code of each reply, and what TLS has agreed on.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "context.h"
#include "times.h"

struct step {
  const char *command, *code;
  enum { PLAIN, LISTS_STARTTLS, LISTS_NO_STARTTLS, BEGINS_TLS, IS_MAIL } kind;
};
#define ENDING {"MAIL FROM:<somebody@load.example>\r\n", "250", IS_MAIL}, {"RCPT TO:<nobody@other.example>\r\n", "5", PLAIN}, {"QUIT\r\n", "221", PLAIN}, {NULL, NULL, PLAIN}
static const struct step in_clear[] = {{"", "220", PLAIN}, {"EHLO load.example\r\n", "250", LISTS_STARTTLS}, ENDING};
static const struct step with_starttls[] = {
  {"", "220", PLAIN}, {"EHLO load.example\r\n", "250", LISTS_STARTTLS}, {"STARTTLS\r\n", "220", BEGINS_TLS},
  {"EHLO load.example\r\n", "250", LISTS_NO_STARTTLS}, ENDING};

enum { PATIENCE = 30, TEXT = 4096, AT_A_TIME = 200 };
struct client {
  int socket;
  const struct step *step;
  SSL *tls;
  bool shakes_hands, holds;
  double began;
  size_t count;
  char text[TEXT];
};

static enum { SESSIONS, COUNT, HOLD, CHECK } mode;
static struct sockaddr_in address;
static const struct step *steps;
static SSL_CTX *context;
static int epoll, waiting;
static bool counts;
static long finished, failures, holding, room;
static float *samples;

static void open_session(struct client *c) {
  int on = 1;
  c->step = steps;
  c->count = 0;
  c->began = now();
  c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->socket < 0 || (connect(c->socket, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)) {
    perror("load: connect");
    exit(111);
  }
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->socket, &event);
}

static void close_session(struct client *c) {
  if (c->tls) SSL_free(c->tls);
  c->tls = NULL;
  c->shakes_hands = false;
  close(c->socket);
  c->socket = -1;
}

static bool put(struct client *c, const char *text) {
  size_t count = strlen(text);
  return (c->tls ? SSL_write(c->tls, text, (int)count) : send(c->socket, text, count, MSG_NOSIGNAL)) == (ssize_t)count;
}

/* As recv: -1 means that nothing is there yet. */
static ssize_t get(struct client *c) {
  ssize_t got;
  if (c->tls) {
    got = SSL_read(c->tls, c->text + c->count, (int)(TEXT - 1 - c->count));
    return got > 0 ? got : SSL_get_error(c->tls, (int)got) == SSL_ERROR_WANT_READ ? -1 : 0;
  }
  got = recv(c->socket, c->text + c->count, TEXT - 1 - c->count, 0);
  return got < 0 && errno != EAGAIN ? 0 : got;
}

/* True when the reply is complete: its last line has a space after the code. */
static bool is_complete(const struct client *c) {
  if (c->count < 5 || c->text[c->count - 1] != '\n') return false;
  size_t line = c->count - 1;
  while (line > 0 && c->text[line - 1] != '\n') line--;
  return c->count - line > 4 && c->text[line + 3] == ' ';
}

static bool is_expected(struct client *c) {
  c->text[c->count] = 0;
  bool lists = strstr(c->text, "STARTTLS\r\n") != NULL;
  bool expected = !strncmp(c->text, c->step->code, strlen(c->step->code)) && !(c->step->kind == LISTS_STARTTLS && !lists) &&
                  !(c->step->kind == LISTS_NO_STARTTLS && lists);
  if (mode != CHECK) return expected;
  printf("%s%s ", c->step->code, c->step->kind == LISTS_STARTTLS ? "+STARTTLS" : "");
  if (!expected) printf("not found in: %s", c->text);
  return expected;
}

enum outcome { GOES_ON, FINISHED, FAILED };

static enum outcome next_step(struct client *c) {
  if (!is_expected(c)) return FAILED;
  c->count = 0;
  if (c->step->kind == BEGINS_TLS) {
    c->tls = SSL_new(context);
    SSL_set_fd(c->tls, c->socket);
    SSL_set_connect_state(c->tls);
    c->shakes_hands = true;
    c->step++;
    return GOES_ON;
  }
  c->step++;
  if (!c->step->command) {
    if (c->tls) SSL_shutdown(c->tls);
    return FINISHED;
  }
  if (mode == HOLD && c->step->kind == IS_MAIL) {
    holding++;
    c->holds = true;
    return GOES_ON;
  }
  return put(c, c->step->command) ? GOES_ON : FAILED;
}

static void print_agreement(SSL *tls) {
  EVP_PKEY *exchange = NULL;
  const char *name = SSL_get_peer_tmp_key(tls, &exchange) ? OBJ_nid2sn(EVP_PKEY_id(exchange)) : "no exchange";
  printf("%s %s %s ", SSL_get_version(tls), SSL_get_cipher(tls), name);
  EVP_PKEY_free(exchange);
}

static enum outcome serve(struct client *c) {
  for (;;) {
    if (c->shakes_hands) {
      int result = SSL_do_handshake(c->tls);
      if (result <= 0) return SSL_get_error(c->tls, result) == SSL_ERROR_WANT_READ ? GOES_ON : FAILED;
      c->shakes_hands = false;
      if (mode == CHECK) print_agreement(c->tls);
      if (!put(c, c->step->command)) return FAILED;
      return GOES_ON;
    }
    ssize_t got = get(c);
    if (got <= 0) return got < 0 ? GOES_ON : FAILED;
    c->count += (size_t)got;
    if (is_complete(c)) {
      enum outcome outcome = next_step(c);
      if (outcome != GOES_ON || !c->shakes_hands) return outcome;
    } else if (!c->tls || c->count == TEXT - 1) {
      return c->count == TEXT - 1 ? FAILED : GOES_ON;
    }
  }
}

/* Takes note of the end of a session and opens the next one. A failed one waits for the next turn, so that it does not go round. */
static void end_session(struct client *c, bool failed) {
  double duration = now() - c->began;
  close_session(c);
  if (failed) {
    failures++;
    waiting++;
    return;
  }
  if (counts) {
    if (finished == room) samples = realloc(samples, (size_t)(room = room * 2 + 4096) * sizeof *samples);
    samples[finished] = (float)(duration * 1e3);
  }
  finished++;
  open_session(c);
}

static int compare(const void *one, const void *other) {
  float difference = *(const float *)one - *(const float *)other;
  return (difference > 0) - (difference < 0);
}

static void report(double seconds, double processor) {
  qsort(samples, (size_t)finished, sizeof *samples, compare);
#define PERCENTILE(part) (finished ? samples[(long)((double)(finished - 1) * (part))] : 0)
  printf("{\"sessions\": %ld, \"seconds\": %.3f, \"failures\": %ld, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"most\": %.3f, "
         "\"client\": %.3f}\n", finished, seconds, failures, PERCENTILE(0.5), PERCENTILE(0.9), PERCENTILE(0.99), PERCENTILE(1),
         processor / seconds);
}

static void run(struct client *clients, long connections, long limit, double seconds) {
  struct epoll_event events[256];
  double start = now(), swept = start, begin = 0, processor = 0;
  long opened = 0;
  for (;;) {
    long due = mode == SESSIONS ? 1 + (long)((now() - start) * 2000 / seconds) : mode == HOLD ? holding + AT_A_TIME : connections;
    while (opened < connections && opened < due) open_session(&clients[opened++]);
    int count = epoll_wait(epoll, events, 256, opened < connections ? 1 : 10);
    for (int i = 0; i < count; i++) {
      struct client *c = events[i].data.ptr;
      enum outcome outcome = serve(c);
      if (mode >= COUNT && (outcome == FAILED || (outcome == FINISHED && finished + 1 == limit))) {
        if (mode == CHECK) printf("\n");
        exit(outcome == FAILED);
      }
      if (outcome != GOES_ON) end_session(c, outcome == FAILED);
    }
    double time = now();
    if (mode == HOLD && holding == connections) return;
    if (mode == SESSIONS && !counts && (finished >= connections || time - start > 1.5 * seconds)) {
      counts = true;
      finished = failures = 0;
      printf("begin\n");
      begin = now();
      processor = processor_time();
    }
    if (mode == SESSIONS && counts && time - begin >= (finished ? seconds : 3 * seconds) && begin > 0) {
      report(time - begin, processor_time() - processor);
      return;
    }
    if (time - swept < (waiting ? 0.01 : 1)) continue;
    swept = time;
    for (long i = 0; i < opened; i++) {
      if (clients[i].socket < 0) waiting--, open_session(&clients[i]);
      else if (time - clients[i].began > PATIENCE && !clients[i].holds) {
        if (mode != SESSIONS) exit(1);
        end_session(&clients[i], true);
      }
    }
  }
}

int main(int count, char **words) {
  static const char *const modes[] = {"sessions", "count", "hold", "check"};
  static const int arguments[] = {6, 5, 5, 4};
  for (mode = SESSIONS; count > 1 && mode <= CHECK && strcmp(modes[mode], words[1]); mode++) {}
  if (count < 4 || mode > CHECK || count != arguments[mode]) {
    fprintf(stderr, "usage: load sessions|count|hold|check PORT clear|starttls [CONNECTIONS|COUNT [SECONDS]]\n");
    return 100;
  }
  signal(SIGPIPE, SIG_IGN);
  setvbuf(stdout, NULL, _IOLBF, 0);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)atoi(words[2]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  steps = strcmp(words[3], "starttls") ? in_clear : with_starttls;
  if (!(context = client_context())) return 111;
  epoll = epoll_create1(0);
  long number = count > 4 ? atol(words[4]) : 1, connections = mode == SESSIONS || mode == HOLD ? number : 1;
  struct client *clients = calloc((size_t)connections, sizeof *clients);
  run(clients, connections, mode == COUNT ? number : 1, count > 5 ? atof(words[5]) : 0);
  if (mode != HOLD) return 0;
  printf("begin\n");
  char octet;
  return read(0, &octet, 1) < 0;
}
