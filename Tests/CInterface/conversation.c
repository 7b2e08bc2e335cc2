/* conversation.c: a conversation through a caller that follows the four steps of smtpstate.h, and misuse of it. */

#include "check.h"

#define TEXT(text) text, sizeof(text) - 1

/* Enough for the default policy; a check compares. */
static uint64_t memory[8192];

struct side {
  enum smtpstate_party party;
  char octets[8192]; /* that have arrived and are not consumed */
  size_t count;
};

static struct smtpstate_conversation conversation;
static struct side client, server;
/* What was sent, each piece after `c:` or `s:`, and the decisions in words. */
static char deeds[16384];
static bool is_unavailable;
/* The most octets that are given, and accepted, at once. */
static size_t most;

static void note(const char *text, size_t length) {
  size_t end = strlen(deeds);
  CHECK(end + length < sizeof deeds);
  if (end + length >= sizeof deeds) return;
  memcpy(deeds + end, text, length);
  deeds[end + length] = 0;
}

/* What was sent to one side, without CR, one line a line. */
static char sent[2][16384];

static bool send_output(enum smtpstate_party party) {
  size_t count = 99, end;
  char *text = sent[party == SMTPSTATE_PARTY_CLIENT ? 0 : 1];
  const char *octets = (const char *)smtpstate_conversation_output(&conversation, party, &count);
  CHECK((octets == NULL) == (count == 0));
  if (count == 0) return false;
  if (count > most) count = most;
  end = strlen(text);
  memcpy(text + end, octets, count);
  text[end + count] = 0;
  smtpstate_conversation_sent(&conversation, party, count);
  return true;
}

static bool decide(void) {
  struct smtpstate_command decision;
  bool has_decided = false;
  while ((decision = smtpstate_conversation_next_decision(&conversation)).kind != 0) {
    char words[SMTPSTATE_DESCRIPTION_SIZE + 1];
    size_t length = smtpstate_command_describe(decision, words, sizeof words);
    has_decided = true;
    words[length] = '\n';
    note(words, length + 1);
    if (decision.kind == SMTPSTATE_KIND_PEEK) {
      struct side *side = decision.party == SMTPSTATE_PARTY_CLIENT ? &client : &server;
      int first = side->count > 0 ? (unsigned char)side->octets[0] : SMTPSTATE_NO_OCTET;
      if (is_unavailable)
        smtpstate_conversation_tls_unavailable(&conversation);
      else
        smtpstate_conversation_peeked(&conversation, first, false);
    }
    if (decision.kind == SMTPSTATE_KIND_END_SERVER) server.count = 0;
  }
  return has_decided;
}

static bool receive(struct side *side) {
  size_t count = side->count > most ? most : side->count, used;
  if (count == 0 || !smtpstate_conversation_wants(&conversation, side->party)) return false;
  used = smtpstate_conversation_receive(&conversation, side->party, side->octets, count);
  CHECK(used > 0 && used <= count);
  side->count -= used;
  memmove(side->octets, side->octets + used, side->count);
  return true;
}

/* Does everything that can be done. */
static void turn(void) {
  while (decide() || send_output(SMTPSTATE_PARTY_SERVER) || send_output(SMTPSTATE_PARTY_CLIENT) || receive(&server) ||
         receive(&client))
    ;
}

static void arrive(struct side *side, const char *text) {
  size_t length = strlen(text);
  memcpy(side->octets + side->count, text, length);
  side->count += length;
  deeds[0] = sent[0][0] = sent[1][0] = 0;
  turn();
}

#define CLIENT(text) arrive(&client, text)
#define SERVER(text) arrive(&server, text)
#define EVENT(call) (deeds[0] = sent[0][0] = sent[1][0] = 0, call, turn())
#define TO_CLIENT(text) CHECK_TEXT(sent[0], text)
#define TO_SERVER(text) CHECK_TEXT(sent[1], text)
#define DECIDES(text) CHECK_TEXT(deeds, text)

static void begin(const struct smtpstate_policy *policy, size_t at_once) {
  size_t size = smtpstate_conversation_memory_size(policy);
  CHECK(size > 0 && size <= sizeof memory);
  memset(&conversation, 0xA5, sizeof conversation);
  memset(memory, 0xA5, sizeof memory);
  CHECK(smtpstate_conversation_init(&conversation, policy, memory, size));
  client.party = SMTPSTATE_PARTY_CLIENT;
  server.party = SMTPSTATE_PARTY_SERVER;
  client.count = server.count = 0;
  is_unavailable = false;
  most = at_once;
}

/* In clear, until MAIL. */
static void in_clear(size_t at_once) {
  begin(NULL, at_once);
  CHECK(smtpstate_conversation_phase(&conversation) == SMTPSTATE_PHASE_GREETING);
  CHECK(smtpstate_conversation_deadline(&conversation) == SMTPSTATE_DEADLINE_GREETING);
  CHECK(smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_SERVER));
  CHECK(!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_CLIENT));
  CHECK(!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_NEW_SERVER));
  CHECK(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, TEXT("EHLO c\r\n")) == 0);
  SERVER("220 be\r\n");
  TO_CLIENT("220 be\r\n");
  CHECK(smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_CLIENT));
  CLIENT("EHLO c\r\n");
  TO_SERVER("EHLO c\r\n");
  SERVER("250-be\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 SIZE 9\r\n");
  TO_CLIENT("250-be\r\n250-STARTTLS\r\n250 SIZE 9\r\n");
  CLIENT("XCLIENT x\r\n");
  TO_SERVER("");
  CHECK(strncmp(sent[0], "50", 2) == 0);
  CHECK(!smtpstate_conversation_is_clear_phase_over(&conversation));
  CLIENT("MAIL FROM:<>\r\n");
  TO_SERVER("MAIL FROM:<>\r\n");
  DECIDES("abort mail\nrelay\n");
  CHECK(smtpstate_conversation_is_final(&conversation));
  CHECK(smtpstate_conversation_is_clear_phase_over(&conversation));
  CHECK(smtpstate_conversation_phase(&conversation) == SMTPSTATE_PHASE_RELAYING);
  CHECK(smtpstate_conversation_deadline(&conversation) == SMTPSTATE_DEADLINE_NONE);
  CHECK(!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_CLIENT));
  CHECK(smtpstate_conversation_next_decision(&conversation).kind == 0);
}

/* With STARTTLS; the server starts again. */
static void with_tls(size_t at_once) {
  uint32_t starts;
  begin(NULL, at_once);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  TO_CLIENT("250-be\r\n250 STARTTLS\r\n");
  starts = smtpstate_conversation_timer_starts(&conversation);
  CLIENT("STARTTLS\r\n\x16");
  TO_CLIENT("220 2.0.0 Ready to start TLS\r\n");
  DECIDES("peek client\nend server\nhandoff\n");
  CHECK(client.count == 1);
  CHECK(smtpstate_conversation_timer_starts(&conversation) != starts);
  CHECK(smtpstate_conversation_deadline(&conversation) == SMTPSTATE_DEADLINE_HANDSHAKE);
  client.count = 0;
  EVENT(smtpstate_conversation_handshake_finished(&conversation, SMTPSTATE_HANDSHAKE_ESTABLISHED));
  DECIDES("restart\n");
  server.party = SMTPSTATE_PARTY_NEW_SERVER;
  EVENT(smtpstate_conversation_server_restarted(&conversation, SMTPSTATE_RESTARTED_GREETING));
  SERVER("220 new\r\n");
  TO_CLIENT("");
  CHECK(!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_SERVER));
  CHECK(smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_NEW_SERVER));
  /* The end of the old server, reported late, changes nothing. */
  EVENT(smtpstate_conversation_input_ended(&conversation, SMTPSTATE_PARTY_SERVER));
  DECIDES("");
  CLIENT("EHLO c\r\nSTARTTLS\r\n");
  TO_SERVER("EHLO c\r\n");
  SERVER("250-new\r\n250 AUTH PLAIN\r\n");
  TO_CLIENT("250-new\r\n250 AUTH PLAIN\r\n503 5.5.1 Bad sequence of commands\r\n");
  CLIENT("MAIL FROM:<>\r\nRCPT TO:<x@y>\r\n");
  TO_SERVER("MAIL FROM:<>\r\n");
  DECIDES("relay\n");
  /* What was not consumed is relayed by the caller. */
  CHECK(client.count == strlen("RCPT TO:<x@y>\r\n"));
}

static void with_reset(size_t at_once) {
  struct smtpstate_policy policy;
  smtpstate_policy_init(&policy);
  policy.server_reset = SMTPSTATE_SERVER_RESET_RSET;
  begin(&policy, at_once);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  CLIENT("STARTTLS\r\n");
  TO_SERVER("RSET\r\n");
  DECIDES("peek client\n");
  SERVER("250 reset\r\n");
  TO_CLIENT("220 2.0.0 Ready to start TLS\r\n");
  DECIDES("peek server\npeek client\nhandoff\n");
  EVENT(smtpstate_conversation_handshake_finished(&conversation, SMTPSTATE_HANDSHAKE_FAILED));
  DECIDES("close tls failed\n");
  TO_CLIENT("");
}

/* CVE-2011-0411, a TLS layer that is not there, and ends of both parties. */
static void endings(size_t at_once) {
  begin(NULL, at_once);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  CLIENT("STARTTLS\r\nRSET\r\n");
  DECIDES("peek client\nabort injected plaintext\nclose injected plaintext\n");
  CHECK(strncmp(sent[0], "554 5.5.0 ", 10) == 0);
  CHECK(client.count == 6);

  begin(NULL, at_once);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  is_unavailable = true;
  CLIENT("STARTTLS\r\nNOOP\r\n");
  CHECK(strncmp(sent[0], "454 4.7.0 ", 10) == 0);
  TO_SERVER("NOOP\r\n");
  EVENT(smtpstate_conversation_input_ended(&conversation, SMTPSTATE_PARTY_CLIENT));
  SERVER("250 ok\r\n");
  TO_CLIENT("250 ok\r\n");
  DECIDES("abort client ended\nclose client ended\n");

  /* The same before PEEK was fetched: it does not come any more. */
  begin(NULL, at_once);
  SERVER("220 be\r\n");
  CLIENT("EHLO c\r\n");
  SERVER("250 be\r\n");
  CHECK(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, TEXT("STARTTLS\r\n")) == 10);
  EVENT(smtpstate_conversation_tls_unavailable(&conversation));
  DECIDES("");
  CHECK(strncmp(sent[0], "454 4.7.0 ", 10) == 0);
  CLIENT("NOOP\r\n");
  TO_SERVER("NOOP\r\n");

  begin(NULL, at_once);
  EVENT(smtpstate_conversation_input_ended(&conversation, SMTPSTATE_PARTY_SERVER));
  CHECK(strncmp(sent[0], "421 4.3.", 8) == 0);
  DECIDES("abort server ended\nclose server ended\n");

  begin(NULL, at_once);
  SERVER("220 be\r\n");
  EVENT(smtpstate_conversation_timer_expired(&conversation, SMTPSTATE_DEADLINE_HANDSHAKE));
  EVENT(smtpstate_conversation_timer_expired(&conversation, SMTPSTATE_DEADLINE_NONE));
  DECIDES("");
  EVENT(smtpstate_conversation_timer_expired(&conversation, SMTPSTATE_DEADLINE_CLEAR_PHASE));
  CHECK(strncmp(sent[0], "421 4.4.2 ", 10) == 0);
  DECIDES("abort clear phase timeout\nclose clear phase timeout\n");
}

/* A client that does not read: output is bounded, and the other side waits. */
static void full_output(void) {
  size_t count, i, lines = 0;
  begin(NULL, 8192);
  SERVER("220 be\r\n");
  for (i = 0; i < 100000; i++) {
    if (!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_CLIENT)) break;
    lines += smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, TEXT("NOOP\r\n")) > 0;
    if (!smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_SERVER)) break;
    smtpstate_conversation_sent(&conversation, SMTPSTATE_PARTY_SERVER, 6);
    {
      static char reply[1024];
      memset(reply, 'x', sizeof reply);
      memcpy(reply, "250 ", 4);
      memcpy(reply + sizeof reply - 2, "\r\n", 2);
      CHECK(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_SERVER, reply, sizeof reply) == sizeof reply);
    }
  }
  CHECK(i < 100 && lines > 1);
  CHECK(!smtpstate_conversation_is_final(&conversation));
  smtpstate_conversation_output(&conversation, SMTPSTATE_PARTY_CLIENT, &count);
  CHECK(count > 0 && count < sizeof memory);
  smtpstate_conversation_sent(&conversation, SMTPSTATE_PARTY_CLIENT, count);
  CHECK(smtpstate_conversation_wants(&conversation, SMTPSTATE_PARTY_CLIENT));
}

/* Every call, with what is no conversation. */
static void check_is_none(struct smtpstate_conversation *none) {
  size_t count = 99;
  CHECK(!smtpstate_conversation_wants(none, SMTPSTATE_PARTY_CLIENT));
  CHECK(!smtpstate_conversation_wants(none, SMTPSTATE_PARTY_SERVER));
  CHECK(smtpstate_conversation_receive(none, SMTPSTATE_PARTY_SERVER, TEXT("220 be\r\n")) == 0);
  CHECK(smtpstate_conversation_output(none, SMTPSTATE_PARTY_CLIENT, &count) == NULL && count == 0);
  CHECK(smtpstate_conversation_output(none, SMTPSTATE_PARTY_CLIENT, NULL) == NULL);
  smtpstate_conversation_input_ended(none, SMTPSTATE_PARTY_CLIENT);
  smtpstate_conversation_sent(none, SMTPSTATE_PARTY_CLIENT, 1);
  smtpstate_conversation_tls_unavailable(none);
  smtpstate_conversation_peeked(none, SMTPSTATE_NO_OCTET, false);
  smtpstate_conversation_handshake_finished(none, SMTPSTATE_HANDSHAKE_ESTABLISHED);
  smtpstate_conversation_server_restarted(none, SMTPSTATE_RESTARTED_READY);
  smtpstate_conversation_timer_expired(none, SMTPSTATE_DEADLINE_COMMAND);
  CHECK_COMMAND(smtpstate_conversation_next_decision(none), "close misuse");
  CHECK(smtpstate_conversation_deadline(none) == SMTPSTATE_DEADLINE_NONE);
  CHECK(smtpstate_conversation_timer_starts(none) == 0);
  CHECK(smtpstate_conversation_phase(none) == SMTPSTATE_PHASE_NONE);
  CHECK(smtpstate_conversation_is_final(none));
  CHECK(smtpstate_conversation_is_clear_phase_over(none));
}

static void no_conversation(void) {
  struct smtpstate_conversation none, zeroed;
  struct smtpstate_policy policy;
  size_t size = smtpstate_conversation_memory_size(NULL);
  memset(&zeroed, 0, sizeof zeroed);
  check_is_none(NULL);
  none = zeroed;
  check_is_none(&none);
  memset(&none, 0xFF, sizeof none);
  check_is_none(&none);
  /* A conversation of another version of the interface. */
  CHECK(smtpstate_conversation_init(&none, NULL, memory, size));
  none.opaque[0]++;
  check_is_none(&none);

  CHECK(!smtpstate_conversation_init(NULL, NULL, memory, size));
  memset(&none, 0xA5, sizeof none);
  CHECK(!smtpstate_conversation_init(&none, NULL, NULL, size));
  CHECK(memcmp(&none, &zeroed, sizeof none) == 0);
  CHECK(!smtpstate_conversation_init(&none, NULL, memory, size - 1));
  CHECK(!smtpstate_conversation_init(&none, NULL, memory, 0));
  CHECK(smtpstate_conversation_init(&none, NULL, memory, (size_t)-1));
  memset(&none, 0, sizeof none);
  check_is_none(&none);
  memset(&policy, 0, sizeof policy);
  CHECK(smtpstate_conversation_memory_size(&policy) == 0);
  CHECK(!smtpstate_conversation_init(&none, &policy, memory, sizeof memory));
  check_is_none(&none);
}

/* A fault of the caller closes the conversation; nothing that follows changes that. */
static void check_closes(void) {
  turn();
  DECIDES("abort misuse\nclose misuse\n");
  CHECK(smtpstate_conversation_is_final(&conversation));
  CHECK(smtpstate_conversation_phase(&conversation) == SMTPSTATE_PHASE_CLOSED);
  EVENT(smtpstate_conversation_tls_unavailable(&conversation));
  EVENT(smtpstate_conversation_input_ended(&conversation, SMTPSTATE_PARTY_CLIENT));
  DECIDES("");
  CHECK(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, TEXT("NOOP\r\n")) == 0);
}

static void check_none(size_t used) { CHECK(used == 0); }

static void out_of_range(void) {
  size_t count = 99;
#define CLOSES(call) (begin(NULL, 8192), SERVER("220 be\r\n"), call, check_closes())
  CLOSES(smtpstate_conversation_input_ended(&conversation, (enum smtpstate_party)0));
  CLOSES(smtpstate_conversation_input_ended(&conversation, (enum smtpstate_party)257));
  CLOSES(smtpstate_conversation_sent(&conversation, (enum smtpstate_party)4, 1));
  CLOSES(smtpstate_conversation_sent(&conversation, SMTPSTATE_PARTY_CLIENT, (size_t)-1));
  CLOSES(smtpstate_conversation_peeked(&conversation, -2, false));
  CLOSES(smtpstate_conversation_peeked(&conversation, 256, false));
  CLOSES(smtpstate_conversation_handshake_finished(&conversation, (enum smtpstate_handshake)3));
  CLOSES(smtpstate_conversation_server_restarted(&conversation, (enum smtpstate_restarted)0));
  CLOSES(smtpstate_conversation_timer_expired(&conversation, (enum smtpstate_deadline)7));
  /* Answers to decisions that were not made. */
  CLOSES(smtpstate_conversation_peeked(&conversation, SMTPSTATE_NO_OCTET, false));
  CLOSES(smtpstate_conversation_handshake_finished(&conversation, SMTPSTATE_HANDSHAKE_ESTABLISHED));
  CLOSES(smtpstate_conversation_server_restarted(&conversation, SMTPSTATE_RESTARTED_READY));
#undef CLOSES
#define CLOSES(call) (begin(NULL, 8192), SERVER("220 be\r\n"), check_none(call), check_closes())
  CLOSES(smtpstate_conversation_receive(&conversation, (enum smtpstate_party)0, TEXT("x")));
  CLOSES(smtpstate_conversation_receive(&conversation, (enum smtpstate_party)4, NULL, 0));
  CLOSES(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, NULL, 1));
  CLOSES(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_CLIENT, "", (size_t)-1));
#undef CLOSES
  /* Questions have answers. */
  begin(NULL, 8192);
  CHECK(!smtpstate_conversation_wants(&conversation, (enum smtpstate_party)0));
  CHECK(smtpstate_conversation_output(&conversation, (enum smtpstate_party)4, &count) == NULL && count == 0);
  CHECK(smtpstate_conversation_output(&conversation, SMTPSTATE_PARTY_CLIENT, NULL) == NULL);
  CHECK(smtpstate_conversation_next_decision(&conversation).kind == 0);
  CHECK(smtpstate_conversation_receive(&conversation, SMTPSTATE_PARTY_SERVER, NULL, 0) == 0);
  CHECK(smtpstate_conversation_next_decision(&conversation).kind == 0);
}

void test_conversations(void) {
  static const size_t at_once[] = {8192, 1, 3};
  size_t i;
  for (i = 0; i < sizeof at_once / sizeof *at_once; i++) {
    in_clear(at_once[i]);
    with_tls(at_once[i]);
    with_reset(at_once[i]);
    endings(at_once[i]);
  }
  full_output();
  no_conversation();
  out_of_range();
}
