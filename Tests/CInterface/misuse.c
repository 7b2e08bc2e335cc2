/* misuse.c: what a caller does wrong is answered, never a crash: no session, no octets, numbers that mean nothing, events that
 * nobody asked for, use after the end. */

#include "check.h"

#define TEXT(text) text, sizeof(text) - 1

/* Every call that returns a command, with that session; all have to answer with these words. */
static void check_every_event(struct smtpstate_session *session, const char *words) {
  struct smtpstate_step step = smtpstate_session_receive(session, SMTPSTATE_PARTY_CLIENT, TEXT("NOOP\r\n"));
  CHECK(step.consumed == 0);
  CHECK_COMMAND(step.command, words);
  step = smtpstate_session_receive(session, SMTPSTATE_PARTY_SERVER, TEXT("250 ok\r\n"));
  CHECK(step.consumed == 0);
  CHECK_COMMAND(step.command, words);
  CHECK_COMMAND(smtpstate_session_next_command(session), words);
  CHECK_COMMAND(smtpstate_session_input_ended(session, SMTPSTATE_PARTY_CLIENT), words);
  CHECK_COMMAND(smtpstate_session_input_ended(session, SMTPSTATE_PARTY_SERVER), words);
  CHECK_COMMAND(smtpstate_session_output_drained(session), words);
  CHECK_COMMAND(smtpstate_session_peeked(session, SMTPSTATE_NO_OCTET, false), words);
  CHECK_COMMAND(smtpstate_session_peeked(session, 0x16, false), words);
  CHECK_COMMAND(smtpstate_session_tls_unavailable(session), words);
  CHECK_COMMAND(smtpstate_session_handshake_finished(session, SMTPSTATE_HANDSHAKE_ESTABLISHED), words);
  CHECK_COMMAND(smtpstate_session_server_restarted(session, SMTPSTATE_RESTARTED_READY), words);
  CHECK_COMMAND(smtpstate_session_timer_expired(session, SMTPSTATE_DEADLINE_COMMAND), words);
  CHECK_COMMAND(smtpstate_session_timer_expired(session, SMTPSTATE_DEADLINE_NONE), words);
  /* And numbers that mean nothing. */
  CHECK_COMMAND(smtpstate_session_receive(session, (enum smtpstate_party)0, TEXT("x")).command, words);
  CHECK_COMMAND(smtpstate_session_receive(session, SMTPSTATE_PARTY_CLIENT, NULL, 3).command, words);
  CHECK_COMMAND(smtpstate_session_receive(session, SMTPSTATE_PARTY_CLIENT, "", (size_t)-1).command, words);
  CHECK_COMMAND(smtpstate_session_input_ended(session, (enum smtpstate_party)4), words);
  CHECK_COMMAND(smtpstate_session_peeked(session, 256, true), words);
  CHECK_COMMAND(smtpstate_session_handshake_finished(session, (enum smtpstate_handshake)0), words);
  CHECK_COMMAND(smtpstate_session_server_restarted(session, (enum smtpstate_restarted)4), words);
  CHECK_COMMAND(smtpstate_session_timer_expired(session, (enum smtpstate_deadline)7), words);
}

static void check_is_none(struct smtpstate_session *session) {
  check_every_event(session, "close misuse");
  CHECK(smtpstate_session_interest(session) == SMTPSTATE_INTEREST_NONE);
  CHECK(smtpstate_session_deadline(session) == SMTPSTATE_DEADLINE_NONE);
  CHECK(smtpstate_session_phase(session) == SMTPSTATE_PHASE_NONE);
  CHECK(smtpstate_session_is_final(session));
  CHECK(smtpstate_session_is_clear_phase_over(session));
  CHECK(!smtpstate_session_equal(session, session));
}

static void no_session(void) {
  struct smtpstate_session session, good;
  check_is_none(NULL);
  CHECK(!smtpstate_session_init(NULL, NULL));
  memset(&session, 0, sizeof session);
  check_is_none(&session);
  memset(&session, 0xFF, sizeof session);
  check_is_none(&session);
  CHECK(smtpstate_session_init(&good, NULL));
  CHECK(!smtpstate_session_equal(&good, NULL) && !smtpstate_session_equal(NULL, &good));
  CHECK(!smtpstate_session_equal(&good, &session) && smtpstate_session_equal(&good, &good));
  /* A session of another version. */
  session = good;
  session.opaque[0]++;
  check_is_none(&session);
}

/* A session before the greeting, in clear, in a chain of commands, looking, or handshaking; all undecided but the last. */
enum state { GREETING, NEGOTIATING, CHAIN, LOOKING, HANDSHAKING, STATES };

static struct smtpstate_session session_in(enum state state) {
  struct smtpstate_session session;
  CHECK(smtpstate_session_init(&session, NULL));
  if (state == GREETING) return session;
  CHECK_COMMAND(smtpstate_session_receive(&session, SMTPSTATE_PARTY_SERVER, TEXT("220 be\r\n")).command, "pass");
  if (state == NEGOTIATING) return session;
  CHECK_COMMAND(smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, TEXT("EHLO c\r\n")).command, "forward EHLO");
  CHECK_COMMAND(smtpstate_session_receive(&session, SMTPSTATE_PARTY_SERVER, TEXT("250 be\r\n")).command, "pass with hyphen");
  CHECK(smtpstate_session_interest(&session) == SMTPSTATE_INTEREST_AGAIN);
  if (state == CHAIN) return session;
  CHECK_COMMAND(smtpstate_session_next_command(&session), "reply 250 STARTTLS");
  CHECK_COMMAND(smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, TEXT("STARTTLS\r\n")).command, "peek client");
  if (state == LOOKING) return session;
  CHECK_COMMAND(smtpstate_session_peeked(&session, SMTPSTATE_NO_OCTET, false), "reply 220 2.0.0");
  CHECK_COMMAND(smtpstate_session_output_drained(&session), "end server");
  CHECK_COMMAND(smtpstate_session_next_command(&session), "handoff");
  return session;
}

/* The session has just received an event that has no meaning: it closes, after abort if it was undecided. */
static void check_closes(struct smtpstate_session *session, struct smtpstate_command command, enum state state) {
  if (state != HANDSHAKING) {
    CHECK_COMMAND(command, "abort misuse");
    CHECK(smtpstate_session_interest(session) == SMTPSTATE_INTEREST_AGAIN);
    CHECK(!smtpstate_session_is_final(session));
    command = smtpstate_session_next_command(session);
  }
  CHECK_COMMAND(command, "close misuse");
  CHECK(smtpstate_session_is_final(session));
  CHECK(smtpstate_session_phase(session) == SMTPSTATE_PHASE_CLOSED);
  check_every_event(session, "keep");
}

static void nonsense(void) {
  int i;
  for (i = GREETING; i < STATES; i++) {
    enum state state = (enum state)i;
    struct smtpstate_session session = session_in(state), copy;
    struct smtpstate_step step;

#define CLOSES(call) (copy = session, check_closes(&copy, call, state))
    copy = session;
    step = smtpstate_session_receive(&copy, (enum smtpstate_party)0, TEXT("220 be\r\n"));
    CHECK(step.consumed == 0);
    check_closes(&copy, step.command, state);
    CLOSES(smtpstate_session_receive(&copy, (enum smtpstate_party)4, TEXT("220 be\r\n")).command);
    CLOSES(smtpstate_session_receive(&copy, (enum smtpstate_party)4, NULL, 0).command);
    CLOSES(smtpstate_session_receive(&copy, SMTPSTATE_PARTY_SERVER, NULL, 1).command);
    CLOSES(smtpstate_session_receive(&copy, SMTPSTATE_PARTY_SERVER, "", (size_t)-1).command);
    CLOSES(smtpstate_session_input_ended(&copy, (enum smtpstate_party)0));
    CLOSES(smtpstate_session_input_ended(&copy, (enum smtpstate_party)257));
    CLOSES(smtpstate_session_peeked(&copy, -2, false));
    CLOSES(smtpstate_session_peeked(&copy, 256, false));
    CLOSES(smtpstate_session_handshake_finished(&copy, (enum smtpstate_handshake)0));
    CLOSES(smtpstate_session_handshake_finished(&copy, (enum smtpstate_handshake)3));
    CLOSES(smtpstate_session_server_restarted(&copy, (enum smtpstate_restarted)0));
    CLOSES(smtpstate_session_server_restarted(&copy, (enum smtpstate_restarted)4));
    CLOSES(smtpstate_session_timer_expired(&copy, (enum smtpstate_deadline)7));
    CLOSES(smtpstate_session_timer_expired(&copy, (enum smtpstate_deadline)0x101));
    /* Answers that no command asked for. */
    if (state != HANDSHAKING) CLOSES(smtpstate_session_handshake_finished(&copy, SMTPSTATE_HANDSHAKE_ESTABLISHED));
    if (state != LOOKING) CLOSES(smtpstate_session_peeked(&copy, SMTPSTATE_NO_OCTET, false));
    CLOSES(smtpstate_session_server_restarted(&copy, SMTPSTATE_RESTARTED_READY));
#undef CLOSES
  }
}

/* What is too late, or not wanted, changes nothing. */
static void unwanted(void) {
  struct smtpstate_session session = session_in(GREETING), copy = session;
  struct smtpstate_step step = smtpstate_session_receive(&copy, SMTPSTATE_PARTY_CLIENT, TEXT("EHLO c\r\n"));
  CHECK(step.consumed == 0);
  CHECK_COMMAND(step.command, "keep");
  CHECK_COMMAND(smtpstate_session_receive(&copy, SMTPSTATE_PARTY_SERVER, NULL, 0).command, "keep");
  CHECK_COMMAND(smtpstate_session_next_command(&copy), "keep");
  CHECK_COMMAND(smtpstate_session_output_drained(&copy), "keep");
  CHECK_COMMAND(smtpstate_session_timer_expired(&copy, SMTPSTATE_DEADLINE_NONE), "keep");
  CHECK_COMMAND(smtpstate_session_timer_expired(&copy, SMTPSTATE_DEADLINE_HANDSHAKE), "keep");
  CHECK(smtpstate_session_equal(&session, &copy));
}

/* Octets after the end of the client. */
static void after_the_end(void) {
  struct smtpstate_session session = session_in(NEGOTIATING);
  struct smtpstate_step step;
  CHECK_COMMAND(smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, TEXT("NOOP\r\n")).command, "forward NOOP");
  CHECK_COMMAND(smtpstate_session_input_ended(&session, SMTPSTATE_PARTY_CLIENT), "keep");
  CHECK_COMMAND(smtpstate_session_input_ended(&session, SMTPSTATE_PARTY_CLIENT), "keep");
  step = smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, TEXT("NOOP\r\n"));
  CHECK(step.consumed == 0);
  check_closes(&session, step.command, NEGOTIATING);
}

void test_misuse(void) {
  no_session();
  nonsense();
  unwanted();
  after_the_end();
}
