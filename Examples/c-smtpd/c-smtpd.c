/*
 * c-smtpd: a small SMTP server on poll and GnuTLS whose STARTTLS is decided by libsmtpstate.
 *
 *   c-smtpd [-c chain.pem -k key.pem] [-r] [-l address] [-p port] [-n name] folder
 *
 * Accepts mail for any recipient and writes each message to a file of its own in the folder; it never
 * relays. The reply 250 to a message is sent when the file and its name are on the disk. Without a
 * certificate there is no STARTTLS; with -r no mail is accepted without it. The default is a free port of
 * 127.0.0.1. The port is written to standard error, and so is a line for each decision and each message.
 *
 * The part of the library is between "The glue" and "The SMTP server"; Docs/Embedding.md explains it. The
 * server itself does not know STARTTLS: it is given lines and it adds replies. One process serves all
 * connections; a slow disk delays all of them.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <smtpstate.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MOST_CONNECTIONS = 256,
  MOST_RECIPIENTS = 100,
  MOST_MESSAGE_OCTETS = 10 * 1024 * 1024,
  MOST_DISCARDED_OCTETS = 64 * 1024,
  LINGER_MILLISECONDS = 2000,
  CLOSE_MILLISECONDS = 30000,
  IDLE_MILLISECONDS = 300000, /* RFC 5321, 4.5.3.2.7 */
  PATH_OCTETS = 256,          /* RFC 5321, 4.5.3.1.3 */
  /* A reply of this server is shorter than this. */
  REPLY_OCTETS = 512,
  BUFFER_OCTETS = 16384
};

struct octets {
  size_t count;
  char at[BUFFER_OCTETS];
};

/* Where in a message the next octet is (RFC 5321, 4.5.2): only CR LF . CR LF ends it. */
enum data { NO_MESSAGE, LINE_START, IN_LINE, AFTER_CR, AFTER_DOT, AFTER_DOT_CR };

struct connection {
  int fd;
  char peer[INET6_ADDRSTRLEN];
  enum { OPEN, HANDSHAKING, CLOSING, LINGERING, DEAD } state;
  gnutls_session_t tls; /* NULL in clear */
  bool is_secured;      /* the handshake is complete */

  /* The part of the library: a conversation, whose memory is at the end of this structure, and two timers. */
  struct smtpstate_conversation conversation;
  bool is_watched;             /* until the decision RELAY */
  enum smtpstate_party server; /* the name of this program in the conversation: after a restart, another one */
  bool is_end_reported;
  uint32_t timer_starts;
  int64_t deadline, clear_deadline; /* milliseconds of the clock, -1 for none */

  struct octets in;      /* in clear and watched: what was peeked at and is still in the kernel */
  struct octets replies; /* of the SMTP server: to the conversation while it watches, then to the client */
  size_t discarded;

  /* The SMTP server's own state. */
  char name[PATH_OCTETS]; /* of EHLO or HELO; "" before */
  bool is_extended;
  bool has_sender;
  char sender[PATH_OCTETS], recipients[MOST_RECIPIENTS][PATH_OCTETS];
  int recipient_count;
  enum data data;
  size_t message_octets;
  bool is_broken; /* a bare CR or LF in the message */
  FILE *file;
  char file_name[64];

  char memory[]; /* smtpstate_conversation_memory_size */
};

static struct smtpstate_policy policy;
static gnutls_certificate_credentials_t credentials;
static const char *server_name = "localhost", *folder_name;
static int folder;

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void die(int code, const char *what) {
  fprintf(stderr, "c-smtpd: %s: %s\n", what, strerror(errno));
  exit(code);
}

static bool add(struct octets *to, const char *octets, size_t count) {
  if (count > BUFFER_OCTETS - to->count) return false;
  memcpy(to->at + to->count, octets, count);
  to->count += count;
  return true;
}

static void remove_first(struct octets *from, size_t count) {
  from->count -= count;
  memmove(from->at, from->at + count, from->count);
}

/* -- The client's octets ----------------------------------------------------------------------------------------- */

static bool has_output(const struct connection *c) {
  size_t count;
  smtpstate_conversation_output(&c->conversation, SMTPSTATE_PARTY_CLIENT, &count);
  return count > 0 || (!c->is_watched && c->replies.count > 0);
}

/* Writes as much as the kernel accepts. Returns how many octets, 0 if it accepts none now. */
static size_t write_out(struct connection *c, const void *octets, size_t count) {
  ssize_t sent = c->tls ? gnutls_record_send(c->tls, octets, count) : send(c->fd, octets, count, MSG_NOSIGNAL);
  if (sent > 0) return (size_t)sent;
  if (c->tls ? gnutls_error_is_fatal((int)sent) : errno != EAGAIN && errno != EINTR) c->state = DEAD;
  return 0;
}

/* Writes the conversation's output, then, after RELAY, the server's replies. */
static void flush(struct connection *c) {
  size_t count, sent = 1;
  const void *octets;
  if (c->state == HANDSHAKING || c->state == DEAD) return;
  while (sent > 0 && (octets = smtpstate_conversation_output(&c->conversation, SMTPSTATE_PARTY_CLIENT, &count))) {
    sent = write_out(c, octets, count);
    smtpstate_conversation_sent(&c->conversation, SMTPSTATE_PARTY_CLIENT, sent);
  }
  while (sent > 0 && !c->is_watched && c->replies.count > 0) {
    sent = write_out(c, c->replies.at, c->replies.count);
    remove_first(&c->replies, sent);
  }
}

/* Reads, or only peeks while the conversation watches in clear. Returns how many octets were added, 0 at the
 * end, -1 if none are there. */
static ssize_t read_in(struct connection *c) {
  bool only_peeks = c->is_watched && !c->tls;
  ssize_t count;
  if (only_peeks) c->in.count = 0;
  if (c->in.count == BUFFER_OCTETS) return -1;
  count = c->tls ? gnutls_record_recv(c->tls, c->in.at + c->in.count, BUFFER_OCTETS - c->in.count)
                 : recv(c->fd, c->in.at + c->in.count, BUFFER_OCTETS - c->in.count, only_peeks ? MSG_PEEK : 0);
  if (count >= 0) {
    c->in.count += (size_t)count;
    return count;
  }
  if (c->tls ? count == GNUTLS_E_PREMATURE_TERMINATION : false) return 0;
  if (c->tls ? gnutls_error_is_fatal((int)count) : errno != EAGAIN && errno != EINTR) c->state = DEAD;
  return -1;
}

/* Takes octets that were read or peeked at. */
static void take_in(struct connection *c, size_t count) {
  if (c->is_watched && !c->tls && recv(c->fd, c->in.at, count, 0) != (ssize_t)count) c->state = DEAD;
  remove_first(&c->in, count);
}

static void begin_tls(struct connection *c) {
  if (gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0 ||
      gnutls_priority_set_direct(c->tls, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", NULL) != 0 ||
      gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, credentials) != 0) {
    c->state = DEAD;
    return;
  }
  gnutls_transport_set_int(c->tls, c->fd);
  c->in.count = 0; /* what was peeked at is still in the kernel, for GnuTLS */
  c->state = HANDSHAKING;
}

static bool serve_forwarded(struct connection *c);
static void forget(struct connection *c);

/* -- The glue ------------------------------------------------------------------------------------------------------ */

/* Carries out all decisions of the conversation. Returns whether there were any. */
static bool decide(struct connection *c) {
  struct smtpstate_command decision;
  bool has_decided = false;
  while ((decision = smtpstate_conversation_next_decision(&c->conversation)).kind != 0) {
    const char *reason = smtpstate_reason_name((enum smtpstate_reason)decision.reason);
    has_decided = true;
    switch ((enum smtpstate_kind)decision.kind) {
    case SMTPSTATE_KIND_PEEK: { /* always at the client: a server that is restarted is not looked at */
      bool has_ended = read_in(c) == 0;
      int first = c->in.count > 0 ? (unsigned char)c->in.at[0] : SMTPSTATE_NO_OCTET;
      smtpstate_conversation_peeked(&c->conversation, first, has_ended);
      break;
    }
    case SMTPSTATE_KIND_END_SERVER: /* nothing of the clear phase may survive */
      c->replies.count = 0;
      forget(c);
      break;
    case SMTPSTATE_KIND_HANDOFF: /* GnuTLS reads the first octet after STARTTLS from the kernel */
      begin_tls(c);
      break;
    case SMTPSTATE_KIND_RESTART: /* the server is this program: it is there, and sends no second greeting */
      c->server = SMTPSTATE_PARTY_NEW_SERVER;
      smtpstate_conversation_server_restarted(&c->conversation, SMTPSTATE_RESTARTED_READY);
      break;
    case SMTPSTATE_KIND_ABORT:
      fprintf(stderr, "%s: no STARTTLS: %s\n", c->peer, reason);
      break;
    case SMTPSTATE_KIND_RELAY: /* from here on the server reads the client itself */
      c->is_watched = false;
      if (!c->tls) c->in.count = 0;
      c->deadline = now() + IDLE_MILLISECONDS;
      break;
    case SMTPSTATE_KIND_CLOSE:
    default:
      fprintf(stderr, "%s: closed: %s\n", c->peer, reason);
      if (c->state != DEAD) c->state = CLOSING;
      c->deadline = now() + CLOSE_MILLISECONDS;
      return true;
    }
  }
  return has_decided;
}

/* Gives what the client has sent to the conversation. Returns whether there was anything. */
static bool receive(struct connection *c) {
  size_t used;
  if (c->in.count == 0 && read_in(c) == 0 && !c->is_end_reported) {
    c->is_end_reported = true;
    smtpstate_conversation_input_ended(&c->conversation, SMTPSTATE_PARTY_CLIENT);
    return true;
  }
  if (c->in.count == 0 || c->state == DEAD) return false;
  used = smtpstate_conversation_receive(&c->conversation, SMTPSTATE_PARTY_CLIENT, c->in.at, c->in.count);
  take_in(c, used); /* exactly these; the others stay where they are */
  return used > 0;
}

/* One step of a watched connection: replies first, then commands, decisions, and the client. Returns whether it moved. */
static bool watch(struct connection *c) {
  if (c->replies.count > 0 && smtpstate_conversation_wants(&c->conversation, c->server)) {
    size_t used = smtpstate_conversation_receive(&c->conversation, c->server, c->replies.at, c->replies.count);
    remove_first(&c->replies, used);
    return used > 0;
  }
  if (c->replies.count == 0 && serve_forwarded(c)) return true;
  if (decide(c)) return true;
  return smtpstate_conversation_wants(&c->conversation, SMTPSTATE_PARTY_CLIENT) && receive(c);
}

/* Continues the handshake, and reports its end. */
static void shake_hands(struct connection *c) {
  int result;
  do result = gnutls_handshake(c->tls);
  while (result == GNUTLS_E_INTERRUPTED || result == GNUTLS_E_WARNING_ALERT_RECEIVED);
  if (result == GNUTLS_E_AGAIN) return;
  c->is_secured = result == 0;
  c->state = OPEN;
  if (result != 0) fprintf(stderr, "%s: no TLS: %s\n", c->peer, gnutls_strerror(result));
  smtpstate_conversation_handshake_finished(
      &c->conversation, result == 0 ? SMTPSTATE_HANDSHAKE_ESTABLISHED : SMTPSTATE_HANDSHAKE_FAILED);
}

/* Starts the conversation's timer again if it says so. */
static void arm(struct connection *c) {
  uint32_t starts = smtpstate_conversation_timer_starts(&c->conversation);
  int64_t length = smtpstate_policy_milliseconds(&policy, smtpstate_conversation_deadline(&c->conversation));
  if (starts != c->timer_starts) c->deadline = length < 0 ? -1 : now() + length;
  c->timer_starts = starts;
}

/* Reports a timer that has expired. */
static void check_timers(struct connection *c) {
  int64_t time = now();
  if (c->is_watched && (c->state == OPEN || c->state == HANDSHAKING)) {
    if (!smtpstate_conversation_is_clear_phase_over(&c->conversation) && time >= c->clear_deadline)
      smtpstate_conversation_timer_expired(&c->conversation, SMTPSTATE_DEADLINE_CLEAR_PHASE);
    else if (c->deadline >= 0 && time >= c->deadline)
      smtpstate_conversation_timer_expired(
          &c->conversation, smtpstate_conversation_deadline(&c->conversation));
    decide(c);
  } else if (time >= c->deadline) {
    c->state = DEAD;
  }
}

/* -- The SMTP server ------------------------------------------------------------------------------------------------ */

/* Adds a reply. */
static void answer(struct connection *c, const char *format, ...) {
  char text[REPLY_OCTETS];
  va_list arguments;
  int length;
  va_start(arguments, format);
  length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof text || !add(&c->replies, text, (size_t)length)) c->state = DEAD;
}

static void forget_mail(struct connection *c) {
  c->has_sender = false;
  c->recipient_count = 0;
  c->data = NO_MESSAGE;
  if (c->file) {
    fclose(c->file);
    unlinkat(folder, c->file_name, 0);
    c->file = NULL;
  }
}

static void forget(struct connection *c) {
  forget_mail(c);
  c->name[0] = 0;
  c->is_extended = false;
}

/* The path between < and > after `prefix`. False if a parameter after it is none that EHLO listed. */
static bool read_path(const char *line, const char *prefix, char *path, bool may_be_empty) {
  const char *start, *end;
  size_t length;
  if (strncasecmp(line, prefix, strlen(prefix)) != 0) return false;
  start = line + strlen(prefix);
  start += strspn(start, " ");
  if (*start++ != '<' || (end = strchr(start, '>')) == NULL) return false;
  length = (size_t)(end - start);
  if (length >= PATH_OCTETS || (length == 0 && !may_be_empty)) return false;
  memcpy(path, start, length);
  path[length] = 0;
  for (start = end + 1; *start == ' ';) {
    start += strspn(start, " ");
    length = strcspn(start, " ");
    if (length > 0 && (!may_be_empty || (strncasecmp(start, "SIZE=", 5) != 0 && strncasecmp(start, "BODY=", 5) != 0)))
      return false;
    start += length;
  }
  return *start == 0;
}

static void begin_data(struct connection *c) {
  static unsigned long count;
  time_t time_now = time(NULL);
  char date[64];
  int fd;
  snprintf(c->file_name, sizeof c->file_name, ".%lld.%ld.%lu.part", (long long)time_now, (long)getpid(), ++count);
  fd = openat(folder, c->file_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || (c->file = fdopen(fd, "w")) == NULL) {
    if (fd >= 0) close(fd);
    answer(c, "451 4.3.0 Cannot store a message now\r\n");
    return;
  }
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", gmtime(&time_now));
  fprintf(c->file, "Return-Path: <%s>\r\n", c->sender);
  for (int i = 0; i < c->recipient_count; i++) fprintf(c->file, "Delivered-To: %s\r\n", c->recipients[i]);
  fprintf(c->file, "Received: from %s ([%s]) by %s with %s; %s\r\n", c->name, c->peer, server_name,
          c->tls ? "ESMTPS" : c->is_extended ? "ESMTP" : "SMTP", date);
  c->data = LINE_START;
  c->message_octets = 0;
  c->is_broken = false;
  answer(c, "354 End with CR LF . CR LF\r\n");
}

/* The message is complete: on the disk first, then its name, then 250. */
static void end_data(struct connection *c) {
  char name[64];
  bool is_stored;
  if (c->is_broken) {
    answer(c, "554 5.6.0 Bare CR or LF in the message\r\n");
  } else if (c->message_octets > MOST_MESSAGE_OCTETS) {
    answer(c, "552 5.3.4 Message too large\r\n");
  } else {
    snprintf(name, sizeof name, "%.*s.eml", (int)(strlen(c->file_name) - 6), c->file_name + 1);
    is_stored = fflush(c->file) == 0 && !ferror(c->file) && fsync(fileno(c->file)) == 0 &&
                renameat(folder, c->file_name, folder, name) == 0;
    if (is_stored) {
      fclose(c->file);
      c->file = NULL;
      is_stored = fsync(folder) == 0;
      /* The client will send it again: it must not be stored twice. */
      if (!is_stored) unlinkat(folder, name, 0);
    }
    if (is_stored)
      fprintf(stderr, "%s: %s: %zu octets%s\n", c->peer, name, c->message_octets, c->tls ? " over TLS" : "");
    answer(c, is_stored ? "250 2.0.0 Stored\r\n" : "451 4.3.0 Cannot store the message now\r\n");
  }
  forget_mail(c);
}

static void put(struct connection *c, int octet) {
  if (++c->message_octets <= MOST_MESSAGE_OCTETS && !c->is_broken) putc(octet, c->file);
}

/* One octet of a message. */
static void serve_data(struct connection *c, int octet) {
  if (octet == '\n' && c->data != AFTER_CR && c->data != AFTER_DOT_CR) c->is_broken = true;
  if (octet != '\n' && (c->data == AFTER_CR || c->data == AFTER_DOT_CR)) c->is_broken = true;
  if (c->data == AFTER_DOT_CR && octet == '\n') {
    end_data(c);
  } else if (c->data == LINE_START && octet == '.') {
    c->data = AFTER_DOT;
  } else if (c->data == AFTER_DOT && octet == '\r') {
    c->data = AFTER_DOT_CR;
  } else if (octet == '\r') {
    c->data = AFTER_CR;
  } else if (octet == '\n') {
    put(c, '\r');
    put(c, '\n');
    c->data = c->data == AFTER_CR ? LINE_START : IN_LINE;
  } else {
    put(c, octet);
    c->data = IN_LINE;
  }
}

/* One command, with its CR LF. */
static void serve_line(struct connection *c, char *line, size_t length) {
  char verb[9] = "", path[PATH_OCTETS];
  if (length < 2) return;
  line[length -= 2] = 0;
  if (strlen(line) != length || strchr(line, '\r') != NULL || strchr(line, '\n') != NULL) {
    answer(c, "500 5.5.2 Syntax error\r\n");
    return;
  }
  memcpy(verb, line, strcspn(line, " ") < 9 ? strcspn(line, " ") : 0);
#define IS(word) (strcasecmp(verb, word) == 0)
  if (IS("EHLO") || IS("HELO")) {
    const char *name = line + 4 + strspn(line + 4, " ");
    if (*name == 0 || strlen(name) >= sizeof c->name) {
      answer(c, "501 5.5.4 Who are you?\r\n");
      return;
    }
    forget(c);
    strcpy(c->name, name);
    c->is_extended = IS("EHLO");
    if (c->is_extended)
      answer(c, "250-%s\r\n250-PIPELINING\r\n250-SIZE %d\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n", server_name,
             MOST_MESSAGE_OCTETS);
    else
      answer(c, "250 %s\r\n", server_name);
  } else if (IS("MAIL")) {
    if (c->has_sender || c->name[0] == 0) {
      answer(c, "503 5.5.1 Not now\r\n");
    } else if (read_path(line, "MAIL FROM:", path, true)) {
      strcpy(c->sender, path);
      c->has_sender = true;
      answer(c, "250 2.1.0 Sender accepted\r\n");
    } else {
      answer(c, "501 5.5.4 Syntax: MAIL FROM:<path> [SIZE=] [BODY=]\r\n");
    }
  } else if (IS("RCPT")) {
    if (!c->has_sender) {
      answer(c, "503 5.5.1 MAIL first\r\n");
    } else if (!read_path(line, "RCPT TO:", path, false)) {
      answer(c, "501 5.5.4 Syntax: RCPT TO:<path>\r\n");
    } else if (c->recipient_count == MOST_RECIPIENTS) {
      answer(c, "452 4.5.3 Too many recipients\r\n");
    } else {
      strcpy(c->recipients[c->recipient_count++], path);
      answer(c, "250 2.1.5 Recipient accepted\r\n");
    }
  } else if (IS("DATA")) {
    if (c->recipient_count == 0)
      answer(c, "503 5.5.1 RCPT first\r\n");
    else
      begin_data(c);
  } else if (IS("RSET")) {
    forget_mail(c);
    answer(c, "250 2.0.0 Forgotten\r\n");
  } else if (IS("NOOP")) {
    answer(c, "250 2.0.0 Fine\r\n");
  } else if (IS("VRFY")) {
    answer(c, "252 2.5.2 Send it and see\r\n");
  } else if (IS("QUIT")) {
    answer(c, "221 2.0.0 Bye\r\n");
    if (!c->is_watched) c->state = CLOSING;
  } else {
    answer(c, "502 5.5.1 Not known here\r\n");
  }
#undef IS
}

/* One line that the conversation has forwarded. Returns whether there was one. */
static bool serve_forwarded(struct connection *c) {
  static char line[BUFFER_OCTETS];
  size_t count, length;
  const char *octets = (const char *)smtpstate_conversation_output(&c->conversation, SMTPSTATE_PARTY_SERVER, &count);
  if (count == 0) return false;
  length = (size_t)((const char *)memchr(octets, '\n', count) - octets) + 1; /* there are only whole lines */
  memcpy(line, octets, length);
  smtpstate_conversation_sent(&c->conversation, SMTPSTATE_PARTY_SERVER, length);
  serve_line(c, line, length);
  return true;
}

/* After RELAY the server reads the client itself. Returns whether anything moved. */
static bool serve(struct connection *c) {
  char *end;
  size_t length;
  ssize_t count;
  if (serve_forwarded(c)) return true;
  count = read_in(c);
  if (count > 0) c->deadline = now() + IDLE_MILLISECONDS;
  if (c->data != NO_MESSAGE) {
    for (length = 0; length < c->in.count && c->data != NO_MESSAGE; length++) serve_data(c, (unsigned char)c->in.at[length]);
    remove_first(&c->in, length);
    if (length == 0 && count == 0) c->state = CLOSING;
    return length > 0;
  }
  end = (char *)memchr(c->in.at, '\n', c->in.count);
  if (end == NULL) {
    if (c->in.count > policy.command_line_limit) answer(c, "500 5.5.2 Line too long\r\n");
    if (c->in.count > policy.command_line_limit || count == 0) c->state = CLOSING;
    return false;
  }
  length = (size_t)(end - c->in.at) + 1;
  if (length > policy.command_line_limit || length < 2 || end[-1] != '\r')
    answer(c, "500 5.5.2 Syntax error\r\n");
  else
    serve_line(c, c->in.at, length);
  remove_first(&c->in, length);
  return true;
}

/* -- Connections ---------------------------------------------------------------------------------------------------- */

static struct connection *begin(int fd, const struct sockaddr *address, socklen_t size) {
  size_t memory = smtpstate_conversation_memory_size(&policy);
  struct connection *c = (struct connection *)calloc(1, sizeof *c + memory);
  int on = 1;
  if (c == NULL) {
    close(fd);
    return NULL;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->fd = fd;
  getnameinfo(address, size, c->peer, sizeof c->peer, NULL, 0, NI_NUMERICHOST);
  c->is_watched = true;
  c->server = SMTPSTATE_PARTY_SERVER;
  if (!smtpstate_conversation_init(&c->conversation, &policy, c->memory, memory)) c->state = DEAD; /* never */
  c->clear_deadline = now() + smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_CLEAR_PHASE);
  arm(c);
  if (credentials == NULL) smtpstate_conversation_tls_unavailable(&c->conversation);
  answer(c, "220 %s ESMTP\r\n", server_name);
  return c;
}

static void end(struct connection *c) {
  forget_mail(c);
  if (c->tls) gnutls_deinit(c->tls);
  close(c->fd);
  free(c);
}

/* Ends a connection after all is written. A close with octets unread would reset the connection, and the client
 * would lose the last reply. */
static void linger(struct connection *c) {
  char octets[4096];
  ssize_t count;
  if (c->state == CLOSING && !has_output(c)) {
    if (c->is_secured) gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    shutdown(c->fd, SHUT_WR);
    c->state = LINGERING;
    c->deadline = now() + LINGER_MILLISECONDS;
  }
  while (c->state == LINGERING) {
    count = recv(c->fd, octets, sizeof octets, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0 || (c->discarded += (size_t)count) > MOST_DISCARDED_OCTETS) c->state = DEAD;
  }
}

/* Whether the server may read a command: there is room for its reply. */
static bool can_serve(const struct connection *c) {
  return !c->is_watched && BUFFER_OCTETS - c->replies.count >= REPLY_OCTETS;
}

/* Does all that can be done without waiting. */
static void turn(struct connection *c) {
  bool has_moved = true;
  while (has_moved) {
    has_moved = false;
    flush(c);
    if (c->state == HANDSHAKING) {
      shake_hands(c);
      has_moved = c->state != HANDSHAKING;
    } else if (c->state == OPEN) {
      has_moved = c->is_watched ? watch(c) : can_serve(c) && serve(c);
    }
  }
  if (c->is_watched && (c->state == OPEN || c->state == HANDSHAKING)) arm(c);
  linger(c);
}

static struct pollfd waits_for(const struct connection *c) {
  struct pollfd entry = {c->fd, 0, 0};
  if (c->state == HANDSHAKING) {
    entry.events = gnutls_record_get_direction(c->tls) ? POLLOUT : POLLIN;
    return entry;
  }
  if (has_output(c)) entry.events |= POLLOUT;
  if (c->state == LINGERING) entry.events |= POLLIN;
  if (c->state == OPEN && (can_serve(c) || smtpstate_conversation_wants(&c->conversation, SMTPSTATE_PARTY_CLIENT)))
    entry.events |= POLLIN;
  return entry;
}

static int milliseconds_until(struct connection *const *connections, int count) {
  int64_t first = INT64_MAX, time = now();
  for (int i = 0; i < count; i++) {
    const struct connection *c = connections[i];
    if (c->deadline >= 0 && c->deadline < first) first = c->deadline;
    if (c->is_watched && !smtpstate_conversation_is_clear_phase_over(&c->conversation) && c->clear_deadline < first)
      first = c->clear_deadline;
  }
  if (first == INT64_MAX) return -1;
  return first <= time ? 0 : first - time > 60000 ? 60000 : (int)(first - time);
}

static int listen_on(const char *address, const char *port) {
  struct addrinfo hints, *found;
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  char host[NI_MAXHOST], service[NI_MAXSERV];
  int fd, on = 1, result;
  memset(&hints, 0, sizeof hints);
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  result = getaddrinfo(address, port, &hints, &found);
  if (result != 0) {
    fprintf(stderr, "c-smtpd: %s port %s: %s\n", address, port, gai_strerror(result));
    exit(100);
  }
  fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 128) != 0 ||
      getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
    die(111, "cannot listen");
  freeaddrinfo(found);
  if (getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, service, sizeof service,
                  NI_NUMERICHOST | NI_NUMERICSERV) == 0)
    fprintf(stderr, "c-smtpd: listening on %s port %s\n", host, service);
  return fd;
}

int main(int argc, char **argv) {
  static struct connection *connections[MOST_CONNECTIONS];
  static struct pollfd entries[MOST_CONNECTIONS + 1];
  const char *chain = NULL, *key = NULL, *address = "127.0.0.1", *port = "0";
  int option, listener, result, count = 0;
  if (smtpstate_abi_version() != SMTPSTATE_ABI_VERSION) {
    fprintf(stderr, "c-smtpd: libsmtpstate has another version than its header\n");
    return 111;
  }
  smtpstate_policy_init(&policy);
  while ((option = getopt(argc, argv, "c:k:rl:p:n:")) != -1) {
    switch (option) {
    case 'c': chain = optarg; break;
    case 'k': key = optarg; break;
    case 'r': policy.security = SMTPSTATE_SECURITY_REQUIRED; break;
    case 'l': address = optarg; break;
    case 'p': port = optarg; break;
    case 'n': server_name = optarg; break;
    default: argc = 0;
    }
  }
  if (optind != argc - 1 || (chain == NULL) != (key == NULL) || strlen(server_name) > 200) {
    fprintf(stderr, "usage: c-smtpd [-c chain.pem -k key.pem] [-r] [-l address] [-p port] [-n name] folder\n");
    return 100;
  }
  folder_name = argv[optind];
  folder = open(folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) die(111, folder_name);
  signal(SIGPIPE, SIG_IGN);
  if (chain != NULL) {
    result = gnutls_certificate_allocate_credentials(&credentials);
    if (result == 0) result = gnutls_certificate_set_x509_key_file(credentials, chain, key, GNUTLS_X509_FMT_PEM);
    if (result < 0) {
      fprintf(stderr, "c-smtpd: %s, %s: %s\n", chain, key, gnutls_strerror(result));
      return 100;
    }
  }
  listener = listen_on(address, port);

  for (;;) {
    for (int i = 0; i < count; i++) entries[i] = waits_for(connections[i]);
    entries[count].fd = count < MOST_CONNECTIONS ? listener : -1;
    entries[count].events = POLLIN;
    if (poll(entries, (nfds_t)count + 1, milliseconds_until(connections, count)) < 0 && errno != EINTR) die(111, "poll");
    if (count < MOST_CONNECTIONS) {
      struct sockaddr_storage peer;
      socklen_t size = sizeof peer;
      int fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0 && (connections[count] = begin(fd, (struct sockaddr *)&peer, size)) != NULL) count++;
    }
    for (int i = 0; i < count; i++) {
      struct connection *c = connections[i];
      turn(c);
      check_timers(c);
      if (c->state != DEAD) turn(c);
      if (c->state == DEAD) {
        end(c);
        connections[i--] = connections[--count];
      }
    }
  }
}
