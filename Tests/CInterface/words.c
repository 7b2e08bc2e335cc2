/* words.c: every name and reply, every description, the held line. */

#include "check.h"

static void names(void) {
  static const char *const reasons[] = {
      "none", "mail", "quit", "client ended", "server ended", "server refused", "server garbage", "server unasked",
      "greeting timeout", "command timeout", "reply timeout", "reset timeout", "handshake timeout", "clear phase timeout",
      "injected plaintext", "tls failed", "restart failed", "too many commands", "wrong protocol", "chunk too large",
      "bad chunk", "bad response", "misuse", "none"};
  static const char *const verbs[] = {
      "none", "EHLO", "HELO", "LHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP",
      "ETRN", "AUTH", "QUIT", "XCLIENT", "XFORWARD", "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH",
      "TRACE", "other", "blank", "response", "none"};
  static const char *const deadlines[] = {
      "none", "greeting", "command", "reply", "reset", "handshake", "clear phase", "none"};
  static const char *const phases[] = {
      "none", "greeting", "negotiating", "peeking before reset", "resetting", "peeking at server", "peeking at client",
      "promised", "handshaking", "restarting", "regreeting", "secured", "quitting", "refusing", "relaying", "closed", "none"};
  size_t i;
  for (i = 0; i < sizeof reasons / sizeof *reasons; i++)
    CHECK_TEXT(smtpstate_reason_name((enum smtpstate_reason)i), reasons[i]);
  for (i = 0; i < sizeof verbs / sizeof *verbs; i++) CHECK_TEXT(smtpstate_verb_name((enum smtpstate_verb)i), verbs[i]);
  for (i = 0; i < sizeof deadlines / sizeof *deadlines; i++)
    CHECK_TEXT(smtpstate_deadline_name((enum smtpstate_deadline)i), deadlines[i]);
  for (i = 0; i < sizeof phases / sizeof *phases; i++)
    CHECK_TEXT(smtpstate_phase_name((enum smtpstate_phase)i), phases[i]);
  CHECK(sizeof reasons / sizeof *reasons == SMTPSTATE_REASON_MISUSE + 2);
  CHECK(sizeof verbs / sizeof *verbs == SMTPSTATE_VERB_RESPONSE + 2);
  CHECK(sizeof deadlines / sizeof *deadlines == SMTPSTATE_DEADLINE_CLEAR_PHASE + 2);
  CHECK(sizeof phases / sizeof *phases == SMTPSTATE_PHASE_CLOSED + 2);
}

static void replies(void) {
  static const struct {
    enum smtpstate_reply reply;
    const char *start;
  } codes[] = {
      {SMTPSTATE_REPLY_STARTTLS_KEYWORD, "250-STARTTLS"},   {SMTPSTATE_REPLY_LAST_STARTTLS_KEYWORD, "250 STARTTLS"},
      {SMTPSTATE_REPLY_READY_FOR_TLS, "220 2.0.0"},
      {SMTPSTATE_REPLY_GOODBYE, "221 2.0.0"},               {SMTPSTATE_REPLY_SERVER_FAILED, "421 4.3.0"},
      {SMTPSTATE_REPLY_SERVER_UNAVAILABLE, "421 4.3.2"},    {SMTPSTATE_REPLY_TIMED_OUT, "421 4.4.2"},
      {SMTPSTATE_REPLY_TOO_MANY_COMMANDS, "421 4.7.0"},     {SMTPSTATE_REPLY_RESET_FAILED, "454 4.3.0"},
      {SMTPSTATE_REPLY_TLS_UNAVAILABLE, "454 4.7.0"},       {SMTPSTATE_REPLY_SYNTAX_ERROR, "500 5.5.2"},
      {SMTPSTATE_REPLY_WRONG_GREETING, "500 5.5.1"},        {SMTPSTATE_REPLY_BAD_RESPONSE, "500 5.5.6"},
      {SMTPSTATE_REPLY_BAD_PARAMETER, "501 5.5.4"},         {SMTPSTATE_REPLY_UNKNOWN_COMMAND, "502 5.5.1"},
      {SMTPSTATE_REPLY_BAD_SEQUENCE, "503 5.5.1"},          {SMTPSTATE_REPLY_TLS_REQUIRED, "530 5.7.0"},
      {SMTPSTATE_REPLY_ENCRYPTION_REQUIRED, "538 5.7.11"},  {SMTPSTATE_REPLY_CHUNK_TOO_LARGE, "552 5.3.4"},
      {SMTPSTATE_REPLY_WRONG_PROTOCOL, "554 5.5.1"},        {SMTPSTATE_REPLY_INJECTED_PLAINTEXT, "554 5.5.0"}};
  size_t i;
  CHECK(sizeof codes / sizeof *codes == SMTPSTATE_REPLY_INJECTED_PLAINTEXT);
  for (i = 0; i < sizeof codes / sizeof *codes; i++) {
    const char *text = smtpstate_reply_text(codes[i].reply);
    size_t length = strlen(text);
    char words[SMTPSTATE_DESCRIPTION_SIZE] = "reply ";
    struct smtpstate_command command;
    memset(&command, 0, sizeof command);
    CHECK((size_t)codes[i].reply == i + 1);
    CHECK(strncmp(text, codes[i].start, strlen(codes[i].start)) == 0);
    CHECK(length > 4 && length <= 512 && strcmp(text + length - 2, "\r\n") == 0);
    CHECK(strchr(text, '\n') == text + length - 1);
    command.kind = SMTPSTATE_KIND_REPLY;
    command.reply = (uint8_t)codes[i].reply;
    CHECK_COMMAND(command, strcat(words, codes[i].start));
  }
  CHECK_TEXT(smtpstate_reply_text((enum smtpstate_reply)0), "");
  CHECK_TEXT(smtpstate_reply_text((enum smtpstate_reply)(SMTPSTATE_REPLY_INJECTED_PLAINTEXT + 1)), "");
}

static void descriptions(void) {
  static const char *const words[] = {"none",        "keep",       "drop reply",  "forward MAIL", "pass with hyphen",
                                      "stash",       "pass earlier with hyphen",   "reply 220 2.0.0",
                                      "reset server", "peek server", "end server", "restart",      "handoff",
                                      "abort client ended", "relay", "close client ended", "none"};
  struct smtpstate_command command;
  char text[SMTPSTATE_DESCRIPTION_SIZE];
  size_t i;
  for (i = 0; i < sizeof words / sizeof *words; i++) {
    command.kind = (uint8_t)i;
    command.party = SMTPSTATE_PARTY_SERVER;
    command.hold = SMTPSTATE_HOLD_REPLY;
    command.verb = SMTPSTATE_VERB_MAIL;
    command.separator = '-';
    command.reply = SMTPSTATE_REPLY_READY_FOR_TLS;
    command.reason = SMTPSTATE_REASON_CLIENT_ENDED;
    command.reserved = 0;
    CHECK_COMMAND(command, words[i]);
  }
  CHECK(i == SMTPSTATE_KIND_CLOSE + 2);

  command.kind = SMTPSTATE_KIND_PASS;
  command.separator = ' ';
  CHECK_COMMAND(command, "pass with space");
  command.separator = 0;
  CHECK_COMMAND(command, "pass");
  command.kind = SMTPSTATE_KIND_PEEK;
  command.party = SMTPSTATE_PARTY_NEW_SERVER;
  CHECK_COMMAND(command, "peek new server");
  command.party = 77;
  CHECK_COMMAND(command, "peek none");
  command.kind = SMTPSTATE_KIND_DROP;
  command.hold = SMTPSTATE_HOLD_CLIENT;
  CHECK_COMMAND(command, "drop client");
  command.hold = 77;
  CHECK_COMMAND(command, "drop none");
  command.kind = SMTPSTATE_KIND_CLOSE;
  command.reason = 255;
  CHECK_COMMAND(command, "close none");
  command.kind = 255;
  CHECK_COMMAND(command, "none");

  /* As snprintf cuts. */
  command.kind = SMTPSTATE_KIND_RELAY;
  memset(text, 'x', sizeof text);
  CHECK(smtpstate_command_describe(command, text, 4) == 5);
  CHECK(memcmp(text, "rel\0x", 5) == 0);
  CHECK(smtpstate_command_describe(command, text, 1) == 5);
  CHECK(text[0] == 0 && text[1] == 'e');
  CHECK(smtpstate_command_describe(command, text, (size_t)-1) == 5);
  CHECK_TEXT(text, "relay");
  CHECK(smtpstate_command_describe(command, text, 0) == 5);
  CHECK(smtpstate_command_describe(command, NULL, 0) == 5);
  CHECK(smtpstate_command_describe(command, NULL, 9) == 5);
}

static void check_line(const char *held, uint8_t separator, const char *expected) {
  char line[32];
  size_t length = strlen(held);
  memcpy(line, held, length);
  line[smtpstate_finish_line(line, length, separator)] = 0;
  CHECK_TEXT(line, expected);
}

static void held_lines(void) {
  check_line("NOOP\r\n", 0, "NOOP\r\n");
  check_line("NOOP\n", 0, "NOOP\r\n");
  check_line("NOOP\r\r\n", 0, "NOOP\r\r\n");
  check_line("250-SIZE\r\n", ' ', "250 SIZE\r\n");
  check_line("250 SIZE\n", '-', "250-SIZE\r\n");
  check_line("250\r\n", '-', "250-\r\n");
  check_line("250\n", ' ', "250 \r\n");
  check_line("250\r\n", 0, "250\r\n");
  check_line("\n", '-', "-\r\n");
  check_line("\r\n", 0, "\r\n");
  check_line("abc", '-', "abc-\r\n");
  check_line("", '-', "");
  CHECK(smtpstate_finish_line(NULL, 7, 0) == 0);
}

void test_words(void) {
  names();
  replies();
  descriptions();
  held_lines();
}
