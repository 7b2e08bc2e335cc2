/* policy.c: defaults, what is refused, capacities and timers, the version. */

#include "check.h"

static bool is_refused(const struct smtpstate_policy *policy) {
  struct smtpstate_session session, zeroed;
  memset(&session, 0xA5, sizeof session);
  memset(&zeroed, 0, sizeof zeroed);
  if (smtpstate_session_init(&session, policy)) return false;
  CHECK(memcmp(&session, &zeroed, sizeof session) == 0);
  CHECK(smtpstate_policy_client_hold_capacity(policy) == 0);
  CHECK(smtpstate_policy_reply_hold_capacity(policy) == 0);
  CHECK(smtpstate_policy_milliseconds(policy, SMTPSTATE_DEADLINE_COMMAND) == -1);
  return true;
}

static void defaults(void) {
  struct smtpstate_policy policy;
  struct smtpstate_session session, other;
  smtpstate_policy_init(NULL);
  memset(&policy, 0xA5, sizeof policy);
  smtpstate_policy_init(&policy);
  CHECK(policy.size == sizeof policy);
  CHECK(policy.security == SMTPSTATE_SECURITY_OPPORTUNISTIC);
  CHECK(policy.mail_protocol == SMTPSTATE_PROTOCOL_SMTP);
  CHECK(policy.server_reset == SMTPSTATE_SERVER_RESET_RESTART);
  CHECK(policy.bare_line_feed == SMTPSTATE_BARE_LINE_FEED_REJECT);
  CHECK(policy.allows_cleartext_authentication == 0);
  CHECK(policy.reserved[0] == 0 && policy.reserved[1] == 0 && policy.reserved[2] == 0);
  CHECK(policy.command_line_limit == 2048 && policy.response_line_limit == 12288);
  CHECK(policy.reply_line_limit == 2048 && policy.reply_lines_limit == 128);
  CHECK(policy.outstanding_limit == 64 && policy.junk_limit == 10);
  CHECK(policy.command_limit == 100 && policy.chunk_limit == 65536);
  CHECK(policy.greeting_timeout_milliseconds == 60000 && policy.command_timeout_milliseconds == 300000);
  CHECK(policy.reply_timeout_milliseconds == 300000 && policy.reset_timeout_milliseconds == 30000);
  CHECK(policy.handshake_timeout_milliseconds == 30000 && policy.clear_phase_timeout_milliseconds == 600000);

  CHECK(smtpstate_session_init(&session, &policy) && smtpstate_session_init(&other, NULL));
  CHECK(smtpstate_session_equal(&session, &other));
  policy.security = SMTPSTATE_SECURITY_REQUIRED;
  CHECK(smtpstate_session_init(&other, &policy));
  CHECK(!smtpstate_session_equal(&session, &other));
}

static void refusals(void) {
  struct smtpstate_policy good, bad;
  int octet, value;
  smtpstate_policy_init(&good);
  memset(&bad, 0, sizeof bad);
  CHECK(is_refused(&bad));
  memset(&bad, 0xFF, sizeof bad);
  CHECK(is_refused(&bad));
  /* Another size: smaller, larger, none. */
  for (octet = 0; octet < 256; octet++) {
    bad = good;
    bad.size = (uint32_t)octet;
    CHECK(is_refused(&bad) == (bad.size != sizeof bad));
  }
  bad.size = UINT32_MAX;
  CHECK(is_refused(&bad));
  bad.size = good.size << 8;
  CHECK(is_refused(&bad));
  /* Every value of each of the eight octets after the size: two of a choice are members, 0 and 1 of the flag, 0 of what is reserved. */
  for (octet = 0; octet < 8; octet++) {
    int accepted = 0;
    for (value = 0; value < 256; value++) {
      bad = good;
      ((unsigned char *)&bad)[4 + octet] = (unsigned char)value;
      accepted += !is_refused(&bad);
    }
    CHECK(accepted == (octet < 5 ? 2 : 1));
  }
}

static void bounds(void) {
  struct smtpstate_policy policy;
  struct smtpstate_session session;
  smtpstate_policy_init(&policy);
  CHECK(smtpstate_policy_client_hold_capacity(&policy) == SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY);
  CHECK(smtpstate_policy_reply_hold_capacity(&policy) == SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY);
  CHECK(smtpstate_policy_client_hold_capacity(NULL) == SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY);
  CHECK(smtpstate_policy_reply_hold_capacity(NULL) == SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY);
  /* The limits and the timers, all at once, out of range. */
  memset((unsigned char *)&policy + 12, 0, sizeof policy - 12);
  CHECK(smtpstate_session_init(&session, &policy));
  CHECK(smtpstate_policy_client_hold_capacity(&policy) == 1 && smtpstate_policy_reply_hold_capacity(&policy) == 1);
  memset((unsigned char *)&policy + 12, 0xFF, sizeof policy - 12);
  CHECK(smtpstate_session_init(&session, &policy));
  CHECK(smtpstate_policy_client_hold_capacity(&policy) == 65535 && smtpstate_policy_reply_hold_capacity(&policy) == 65535);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_RESET) == 4294967295);
}

static void timers(void) {
  struct smtpstate_policy policy;
  smtpstate_policy_init(&policy);
  policy.greeting_timeout_milliseconds = 1;
  policy.command_timeout_milliseconds = 2;
  policy.reply_timeout_milliseconds = 3;
  policy.reset_timeout_milliseconds = 4;
  policy.handshake_timeout_milliseconds = 5;
  policy.clear_phase_timeout_milliseconds = 6;
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_NONE) == -1);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_GREETING) == 1);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_COMMAND) == 2);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_REPLY) == 3);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_RESET) == 4);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_HANDSHAKE) == 5);
  CHECK(smtpstate_policy_milliseconds(&policy, SMTPSTATE_DEADLINE_CLEAR_PHASE) == 6);
  CHECK(smtpstate_policy_milliseconds(&policy, (enum smtpstate_deadline)7) == -1);
  CHECK(smtpstate_policy_milliseconds(NULL, SMTPSTATE_DEADLINE_GREETING) == 60000);
}

void test_policy(void) {
  char numbers[64];
  snprintf(numbers, sizeof numbers, "%d.%d.%d", SMTPSTATE_VERSION_MAJOR, SMTPSTATE_VERSION_MINOR, SMTPSTATE_VERSION_PATCH);
  CHECK_TEXT(SMTPSTATE_VERSION_STRING, numbers);
  CHECK_TEXT(smtpstate_version(), SMTPSTATE_VERSION_STRING);
  CHECK(smtpstate_abi_version() == SMTPSTATE_ABI_VERSION);
  defaults();
  refusals();
  bounds();
  timers();
}
