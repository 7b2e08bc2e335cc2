/* dialogue.c: whole dialogues through a caller that follows the contract of smtpstate.h to the letter; whole and octet by octet. */

#include "check.h"

/* One side's octets, those of them that are consumed, and its hold. */
struct stream {
  char octets[4096];
  size_t count, taken;
};

struct caller {
  struct smtpstate_session session;
  struct stream client, server;
  char client_hold[SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY + SMTPSTATE_LINE_ROOM];
  char reply_hold[SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY + SMTPSTATE_LINE_ROOM];
  char earlier_hold[SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY + SMTPSTATE_LINE_ROOM];
  size_t client_held, reply_held, earlier_held;
  /* Everything that was written, `c:` before what went to the client, `s:` to the server, and the silent commands in words. */
  char deeds[8192];
  /* The most octets that are shown at once. */
  size_t most;
  /* What the session calls the server that is there. */
  enum smtpstate_party server_party;
  bool is_unavailable;
};

static void note(struct caller *caller, const char *text, size_t length) {
  size_t end = strlen(caller->deeds);
  CHECK(end + length < sizeof caller->deeds);
  memcpy(caller->deeds + end, text, length);
  caller->deeds[end + length] = 0;
}

/* Writes a held line, and empties the hold. */
static void write_line(struct caller *caller, const char *to, char *hold, size_t *held, uint8_t separator) {
  CHECK(*held > 0 && hold[*held - 1] == '\n');
  note(caller, to, 3);
  note(caller, hold, smtpstate_finish_line(hold, *held, separator) - 2);
  note(caller, "\n", 1);
  *held = 0;
}

static void carry_out(struct caller *caller, struct smtpstate_command command) {
  char words[SMTPSTATE_DESCRIPTION_SIZE + 1];
  for (;;) {
    struct smtpstate_command answer;
    bool is_answered = false, is_silent = false;
    switch ((enum smtpstate_kind)command.kind) {
    case SMTPSTATE_KIND_KEEP:
      break;
    case SMTPSTATE_KIND_DROP:
      *(command.hold == SMTPSTATE_HOLD_CLIENT ? &caller->client_held : &caller->reply_held) = 0;
      break;
    case SMTPSTATE_KIND_FORWARD:
      write_line(caller, "s: ", caller->client_hold, &caller->client_held, 0);
      break;
    case SMTPSTATE_KIND_PASS:
      write_line(caller, "c: ", caller->reply_hold, &caller->reply_held, command.separator);
      break;
    case SMTPSTATE_KIND_PASS_EARLIER:
      write_line(caller, "c: ", caller->earlier_hold, &caller->earlier_held, command.separator);
      break;
    case SMTPSTATE_KIND_STASH:
      CHECK(caller->earlier_held == 0);
      memcpy(caller->earlier_hold, caller->reply_hold, caller->reply_held);
      caller->earlier_held = caller->reply_held;
      caller->reply_held = 0;
      break;
    case SMTPSTATE_KIND_REPLY: {
      const char *text = smtpstate_reply_text((enum smtpstate_reply)command.reply);
      note(caller, "c: ", 3);
      note(caller, text, strlen(text) - 2);
      note(caller, "\n", 1);
      caller->client_held = 0;
      break;
    }
    case SMTPSTATE_KIND_RESET_SERVER:
      note(caller, "s: RSET\n", 8);
      break;
    case SMTPSTATE_KIND_PEEK: {
      struct stream *stream = command.party == SMTPSTATE_PARTY_CLIENT ? &caller->client : &caller->server;
      int first = stream->taken < stream->count ? (unsigned char)stream->octets[stream->taken] : SMTPSTATE_NO_OCTET;
      answer = caller->is_unavailable ? smtpstate_session_tls_unavailable(&caller->session)
                                      : smtpstate_session_peeked(&caller->session, first, false);
      is_answered = true;
      break;
    }
    case SMTPSTATE_KIND_END_SERVER:
      caller->reply_held = caller->earlier_held = 0;
      caller->server.count = caller->server.taken = 0;
      is_silent = true;
      break;
    case SMTPSTATE_KIND_RELAY:
      note(caller, caller->client_hold, caller->client_held);
      is_silent = true;
      break;
    case SMTPSTATE_KIND_RESTART:
    case SMTPSTATE_KIND_HANDOFF:
    case SMTPSTATE_KIND_ABORT:
    case SMTPSTATE_KIND_CLOSE:
      is_silent = true;
      break;
    }
    if (is_silent) {
      size_t length = smtpstate_command_describe(command, words, sizeof words);
      words[length] = '\n';
      note(caller, words, length + 1);
    }
    if (is_answered)
      command = answer;
    else if (smtpstate_session_interest(&caller->session) == SMTPSTATE_INTEREST_AGAIN)
      command = smtpstate_session_next_command(&caller->session);
    else
      return;
  }
}

static bool pull(struct caller *caller, enum smtpstate_party party) {
  struct stream *stream = party == SMTPSTATE_PARTY_CLIENT ? &caller->client : &caller->server;
  char *hold = party == SMTPSTATE_PARTY_CLIENT ? caller->client_hold : caller->reply_hold;
  size_t *held = party == SMTPSTATE_PARTY_CLIENT ? &caller->client_held : &caller->reply_held;
  size_t count = stream->count - stream->taken;
  struct smtpstate_step step;
  if (count > caller->most) count = caller->most;
  if (count == 0) return false;
  step = smtpstate_session_receive(&caller->session, party, stream->octets + stream->taken, count);
  CHECK(step.consumed > 0 && step.consumed <= count);
  memcpy(hold + *held, stream->octets + stream->taken, step.consumed);
  *held += step.consumed;
  stream->taken += step.consumed;
  carry_out(caller, step.command);
  return true;
}

/* Does all there is to do. */
static void turn(struct caller *caller) {
  bool has_moved = true;
  while (has_moved && !smtpstate_session_is_final(&caller->session)) {
    unsigned interest = smtpstate_session_interest(&caller->session);
    CHECK(interest != SMTPSTATE_INTEREST_AGAIN);
    if (interest == SMTPSTATE_INTEREST_DRAIN) {
      carry_out(caller, smtpstate_session_output_drained(&caller->session));
      continue;
    }
    has_moved = (interest & SMTPSTATE_INTEREST_SERVER) != 0 && pull(caller, caller->server_party);
    if (!has_moved) has_moved = (interest & SMTPSTATE_INTEREST_CLIENT) != 0 && pull(caller, SMTPSTATE_PARTY_CLIENT);
  }
}

static void come(struct caller *caller, struct stream *stream, const char *text) {
  size_t length = strlen(text);
  CHECK(stream->count + length <= sizeof stream->octets);
  memcpy(stream->octets + stream->count, text, length);
  stream->count += length;
  caller->deeds[0] = 0;
  turn(caller);
}

#define CLIENT(text) come(&caller, &caller.client, text)
#define SERVER(text) come(&caller, &caller.server, text)
#define DOES(text) CHECK_TEXT(caller.deeds, text)
#define EVENT(call) (caller.deeds[0] = 0, carry_out(&caller, call), turn(&caller))

static struct caller caller;

static void begin(const struct smtpstate_policy *policy, size_t most) {
  memset(&caller, 0, sizeof caller);
  caller.most = most;
  caller.server_party = SMTPSTATE_PARTY_SERVER;
  CHECK(smtpstate_session_init(&caller.session, policy));
}

/* A server that is part of the caller forgets everything itself; the client then starts again inside TLS. */
static void starttls_restart(size_t most) {
  begin(NULL, most);
  CHECK(smtpstate_session_deadline(&caller.session) == SMTPSTATE_DEADLINE_GREETING);
  CHECK(smtpstate_session_interest(&caller.session) == SMTPSTATE_INTEREST_SERVER);
  SERVER("220 be.example ESMTP\r\n");
  DOES("c: 220 be.example ESMTP\n");
  CHECK(smtpstate_session_interest(&caller.session) == (SMTPSTATE_INTEREST_CLIENT | SMTPSTATE_INTEREST_SERVER));
  CHECK(smtpstate_session_deadline(&caller.session) == SMTPSTATE_DEADLINE_COMMAND);
  CLIENT("EHLO c.example\r\n");
  DOES("s: EHLO c.example\n");
  SERVER("250-be.example\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n");
  DOES("c: 250-be.example\nc: 250-STARTTLS\nc: 250-SIZE 1000\nc: 250 8BITMIME\n");
  CLIENT("STARTTLS\r\n\x16");
  DOES("c: 220 2.0.0 Ready to start TLS\nend server\nhandoff\n");
  /* The first octet of the ClientHello is where the TLS layer finds it. */
  CHECK(caller.client.count - caller.client.taken == 1);
  CHECK(smtpstate_session_phase(&caller.session) == SMTPSTATE_PHASE_HANDSHAKING);
  CHECK(smtpstate_session_is_clear_phase_over(&caller.session));
  caller.client.count = caller.client.taken = 0;
  EVENT(smtpstate_session_handshake_finished(&caller.session, SMTPSTATE_HANDSHAKE_ESTABLISHED));
  DOES("restart\n");
  EVENT(smtpstate_session_server_restarted(&caller.session, SMTPSTATE_RESTARTED_READY));
  caller.server_party = SMTPSTATE_PARTY_NEW_SERVER;
  DOES("");
  CHECK(smtpstate_session_phase(&caller.session) == SMTPSTATE_PHASE_SECURED);
  CLIENT("EHLO c.example\r\n");
  DOES("s: EHLO c.example\n");
  SERVER("250-be.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n");
  DOES("c: 250-be.example\nc: 250 AUTH PLAIN\n");
  CLIENT("STARTTLS\r\n");
  DOES("c: 503 5.5.1 Bad sequence of commands\n");
  /* The old server has gone, and that is reported now. */
  EVENT(smtpstate_session_input_ended(&caller.session, SMTPSTATE_PARTY_SERVER));
  DOES("");
  CLIENT("MAIL FROM:<a@c.example>\n");
  DOES("c: 500 5.5.2 Syntax error, line not accepted\n");
  CLIENT("MAIL FROM:<a@c.example>\r\n");
  DOES("s: MAIL FROM:<a@c.example>\nrelay\n");
  CHECK(smtpstate_session_is_final(&caller.session));
}

static void starttls_reset(size_t most) {
  struct smtpstate_policy policy;
  smtpstate_policy_init(&policy);
  policy.server_reset = SMTPSTATE_SERVER_RESET_RSET;
  begin(&policy, most);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  DOES("c: 250-be\nc: 250 STARTTLS\n");
  CLIENT("STARTTLS\r\n");
  DOES("s: RSET\n");
  CHECK(smtpstate_session_deadline(&caller.session) == SMTPSTATE_DEADLINE_RESET);
  SERVER("250 flushed\r\n");
  DOES("c: 220 2.0.0 Ready to start TLS\nhandoff\n");
  EVENT(smtpstate_session_handshake_finished(&caller.session, SMTPSTATE_HANDSHAKE_ESTABLISHED));
  DOES("");
  CLIENT("MAIL FROM:<>\r\n");
  DOES("c: 503 5.5.1 Bad sequence of commands\n");
}

static void abort_by_mail(size_t most) {
  begin(NULL, most);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  CLIENT("MAIL FROM:<a@c.example>\r\n");
  DOES("abort mail\ns: MAIL FROM:<a@c.example>\nrelay\n");
  CHECK(smtpstate_session_phase(&caller.session) == SMTPSTATE_PHASE_RELAYING);
  CHECK(smtpstate_session_interest(&caller.session) == SMTPSTATE_INTEREST_NONE);
  CHECK(smtpstate_session_deadline(&caller.session) == SMTPSTATE_DEADLINE_NONE);
}

/* The old server ends while the client is looked at, and then there is no TLS: no session goes on with it. */
static void old_server_ends(size_t most) {
  begin(NULL, most);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  DOES("c: 250-be\nc: 250 STARTTLS\n");
  CHECK_COMMAND(smtpstate_session_receive(&caller.session, SMTPSTATE_PARTY_CLIENT, "STARTTLS\r\n", 10).command, "peek client");
  CHECK_COMMAND(smtpstate_session_input_ended(&caller.session, SMTPSTATE_PARTY_SERVER), "keep");
  EVENT(smtpstate_session_tls_unavailable(&caller.session));
  DOES("abort server ended\nc: 421 4.3.0 Mail server failed, closing connection\nclose server ended\n");
}

/* A client that sends LF alone gets nowhere. */
static void bare_line_feed(size_t most) {
  begin(NULL, most);
  SERVER("220 be\r\n");
  DOES("c: 220 be\n");
  CLIENT("EHLO c\nMAIL FROM:<>\n");
  DOES("c: 500 5.5.2 Syntax error, line not accepted\nc: 500 5.5.2 Syntax error, line not accepted\n");
}

/* CVE-2011-0411. */
static void injection(size_t most) {
  begin(NULL, most);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  CLIENT("STARTTLS\r\nRSET\r\n");
  DOES("abort injected plaintext\nc: 554 5.5.0 Octets after STARTTLS not accepted, closing connection\n"
       "close injected plaintext\n");
  CHECK(caller.client.count - caller.client.taken == 6);
}

static void unavailable(size_t most) {
  begin(NULL, most);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  caller.is_unavailable = true;
  CLIENT("STARTTLS\r\nNOOP\r\n");
  DOES("c: 454 4.7.0 TLS not available due to temporary reason\ns: NOOP\n");
  SERVER("250 ok\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  DOES("c: 250 be\n");
}

static void required(size_t most) {
  struct smtpstate_policy policy;
  smtpstate_policy_init(&policy);
  policy.security = SMTPSTATE_SECURITY_REQUIRED;
  begin(&policy, most);
  SERVER("220 be\r\n");
  CLIENT("MAIL FROM:<>\r\n");
  DOES("c: 530 5.7.0 Must issue a STARTTLS command first\n");
  CLIENT("QUIT\r\n");
  DOES("abort quit\ns: QUIT\n");
  SERVER("221 bye\r\n");
  DOES("c: 221 bye\nclose quit\n");
}

static void timers(size_t most) {
  begin(NULL, most);
  EVENT(smtpstate_session_timer_expired(&caller.session, SMTPSTATE_DEADLINE_GREETING));
  DOES("abort greeting timeout\nc: 421 4.3.2 Mail server not available, closing connection\nclose greeting timeout\n");
  begin(NULL, most);
  SERVER("220 be\r\n");
  EVENT(smtpstate_session_timer_expired(&caller.session, SMTPSTATE_DEADLINE_CLEAR_PHASE));
  DOES("abort clear phase timeout\nc: 421 4.4.2 Timed out, closing connection\nclose clear phase timeout\n");
}

/* A copy goes its own way. */
static void copies(size_t most) {
  struct smtpstate_session copy;
  begin(NULL, most);
  SERVER("220 be\r\n");
  copy = caller.session;
  CHECK(smtpstate_session_equal(&copy, &caller.session));
  CLIENT("QUIT\r\n");
  CHECK(!smtpstate_session_equal(&copy, &caller.session));
  CHECK(smtpstate_session_phase(&copy) == SMTPSTATE_PHASE_NEGOTIATING);
}

void test_dialogues(void) {
  static const size_t most[] = {4096, 1, 3};
  size_t i;
  for (i = 0; i < sizeof most / sizeof *most; i++) {
    starttls_restart(most[i]);
    starttls_reset(most[i]);
    abort_by_mail(most[i]);
    old_server_ends(most[i]);
    bare_line_feed(most[i]);
    injection(most[i]);
    unavailable(most[i]);
    required(most[i]);
    timers(most[i]);
    copies(most[i]);
  }
}
