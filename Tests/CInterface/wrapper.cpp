// wrapper.cpp: smtpstate.hpp compiles as C++11, and a conversation through it reaches TLS. Exits 1 if a check failed.

#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include <smtpstate.hpp>

static int checks, failures;
#define CHECK(condition)                                                          \
  do {                                                                            \
    checks++;                                                                     \
    if (!(condition)) {                                                           \
      failures++;                                                                 \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                             \
  } while (0)

static std::size_t receive(smtpstate::Conversation &talk, smtpstate_party party, const char *text) {
  return talk.wants(party) ? talk.receive(party, text, std::strlen(text)) : 0;
}

static std::string output(smtpstate::Conversation &talk, smtpstate_party party) {
  smtpstate::Octets octets = talk.output(party);
  std::string text = octets.empty() ? std::string() : std::string(octets.data, octets.size);
  talk.sent(party, text.size());
  return text;
}

int main() {
  smtpstate::Conversation first;
  smtpstate::Conversation talk(std::move(first));
  smtpstate_command decision;
  CHECK(talk.deadline() == SMTPSTATE_DEADLINE_GREETING && talk.timer_starts() > 0);
  CHECK(!talk.wants(SMTPSTATE_PARTY_CLIENT));
  CHECK(receive(talk, SMTPSTATE_PARTY_SERVER, "220 be\r\n") == 8);
  CHECK(output(talk, SMTPSTATE_PARTY_CLIENT) == "220 be\r\n");
  CHECK(receive(talk, SMTPSTATE_PARTY_CLIENT, "EHLO c\r\nSTARTTLS\r\n") == 8);
  CHECK(output(talk, SMTPSTATE_PARTY_SERVER) == "EHLO c\r\n");
  CHECK(receive(talk, SMTPSTATE_PARTY_SERVER, "250 be\r\n") == 8);
  CHECK(output(talk, SMTPSTATE_PARTY_CLIENT) == "250-be\r\n250 STARTTLS\r\n");
  CHECK(!talk.next_decision(decision));
  CHECK(receive(talk, SMTPSTATE_PARTY_CLIENT, "STARTTLS\r\n") == 10);
  CHECK(talk.next_decision(decision) && decision.kind == SMTPSTATE_KIND_PEEK);
  talk.peeked(SMTPSTATE_NO_OCTET, false);
  CHECK(!talk.next_decision(decision));
  CHECK(output(talk, SMTPSTATE_PARTY_CLIENT) == "220 2.0.0 Ready to start TLS\r\n");
  CHECK(talk.next_decision(decision) && decision.kind == SMTPSTATE_KIND_END_SERVER);
  CHECK(talk.next_decision(decision) && decision.kind == SMTPSTATE_KIND_HANDOFF);
  CHECK(talk.is_clear_phase_over() && talk.phase() == SMTPSTATE_PHASE_HANDSHAKING);
  talk.handshake_finished(true);
  CHECK(talk.next_decision(decision) && decision.kind == SMTPSTATE_KIND_RESTART);
  talk.server_restarted(SMTPSTATE_RESTARTED_READY);
  CHECK(talk.phase() == SMTPSTATE_PHASE_SECURED && !talk.is_final());
  talk.timer_expired(SMTPSTATE_DEADLINE_COMMAND);
  CHECK(talk.next_decision(decision) && decision.kind == SMTPSTATE_KIND_CLOSE && talk.is_final());
  talk.input_ended(SMTPSTATE_PARTY_CLIENT);
  talk.tls_unavailable();
  CHECK(!talk.next_decision(decision));

  bool is_refused = false;
  smtpstate_policy policy = smtpstate::default_policy();
  policy.security = 9;
  try {
    smtpstate::Conversation refused(policy);
  } catch (const std::invalid_argument &) {
    is_refused = true;
  }
  CHECK(is_refused);
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures != 0;
}
