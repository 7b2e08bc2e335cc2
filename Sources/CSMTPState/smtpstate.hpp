/*
 * smtpstate.hpp: smtpstate.h for C++11 and later. Header-only; link with libsmtpstate.
 *
 * Purpose: a conversation that owns its memory, with the enumerations of smtpstate.h.
 * Contract: as for struct smtpstate_conversation. Movable, not copyable.
 * Failure: a policy that is refused throws std::invalid_argument. Allocation throws std::bad_alloc.
 * Nothing else throws.
 */

#ifndef SMTPSTATE_HPP
#define SMTPSTATE_HPP

#include <smtpstate.h>

#include <cstddef>
#include <memory>
#include <stdexcept>

namespace smtpstate {

/* The default policy. */
inline smtpstate_policy default_policy() {
  smtpstate_policy policy;
  smtpstate_policy_init(&policy);
  return policy;
}

/* Octets to send, valid until the next event or decision. */
struct Octets {
  const char *data;
  std::size_t size;
  bool empty() const noexcept { return size == 0; }
};

class Conversation {
public:
  explicit Conversation(const smtpstate_policy &policy = default_policy())
      : size_(smtpstate_conversation_memory_size(&policy)),
        memory_(new unsigned char[size_ > 0 ? size_ : 1]),
        state_(new smtpstate_conversation()) {
    if (!smtpstate_conversation_init(state_.get(), &policy, memory_.get(), size_))
      throw std::invalid_argument("smtpstate: the policy is refused");
  }

  /* What to wait for. */
  bool wants(smtpstate_party party) const noexcept {
    return smtpstate_conversation_wants(state_.get(), party);
  }
  Octets output(smtpstate_party party) const noexcept {
    Octets octets = {nullptr, 0};
    const void *data = smtpstate_conversation_output(state_.get(), party, &octets.size);
    octets.data = static_cast<const char *>(data);
    return octets;
  }
  smtpstate_deadline deadline() const noexcept {
    return smtpstate_conversation_deadline(state_.get());
  }
  std::uint32_t timer_starts() const noexcept {
    return smtpstate_conversation_timer_starts(state_.get());
  }

  /* Events. */
  std::size_t receive(smtpstate_party party, const void *octets, std::size_t count) noexcept {
    return smtpstate_conversation_receive(state_.get(), party, octets, count);
  }
  void input_ended(smtpstate_party party) noexcept {
    smtpstate_conversation_input_ended(state_.get(), party);
  }
  void sent(smtpstate_party party, std::size_t count) noexcept {
    smtpstate_conversation_sent(state_.get(), party, count);
  }
  void tls_unavailable() noexcept { smtpstate_conversation_tls_unavailable(state_.get()); }
  void peeked(int first, bool ended) noexcept {
    smtpstate_conversation_peeked(state_.get(), first, ended);
  }
  void handshake_finished(bool is_established) noexcept {
    smtpstate_conversation_handshake_finished(
        state_.get(),
        is_established ? SMTPSTATE_HANDSHAKE_ESTABLISHED : SMTPSTATE_HANDSHAKE_FAILED);
  }
  void server_restarted(smtpstate_restarted outcome) noexcept {
    smtpstate_conversation_server_restarted(state_.get(), outcome);
  }
  void timer_expired(smtpstate_deadline kind) noexcept {
    smtpstate_conversation_timer_expired(state_.get(), kind);
  }

  /* The next decision; false if there is none. */
  bool next_decision(smtpstate_command &decision) noexcept {
    decision = smtpstate_conversation_next_decision(state_.get());
    return decision.kind != 0;
  }

  smtpstate_phase phase() const noexcept { return smtpstate_conversation_phase(state_.get()); }
  bool is_final() const noexcept { return smtpstate_conversation_is_final(state_.get()); }
  bool is_clear_phase_over() const noexcept {
    return smtpstate_conversation_is_clear_phase_over(state_.get());
  }

private:
  std::size_t size_;
  std::unique_ptr<unsigned char[]> memory_;
  std::unique_ptr<smtpstate_conversation> state_;
};

}  // namespace smtpstate

#endif
