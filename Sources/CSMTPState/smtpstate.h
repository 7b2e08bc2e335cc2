/*
 * smtpstate.h: decides whether STARTTLS is requested, or cannot come any more, in an SMTP session.
 *
 * The library stands between a client and a server that has no TLS. In a mail server that links it,
 * "the server" is the command loop of that mail server. The library has no descriptor and no clock.
 * It allocates nothing, calls nothing back and has no global state.
 *
 * TWO LEVELS
 *
 * struct smtpstate_conversation is the one to use. It is given octets, has octets to send, and
 * leaves a few decisions to the caller. Its four steps are described where it is declared.
 *
 * struct smtpstate_session is the level below it, for callers that keep the held lines themselves.
 * The rest of this comment is its contract. The parties, the numbers and the rules about faults
 * hold for both levels.
 *
 * THE CONTRACT OF A SESSION
 *
 * Ownership. Every structure here is plain data and belongs to the caller. A session may be copied
 * with `=`; the copy is independent. There is nothing to free. Strings that are returned are
 * constants. No pointer is kept, except the memory of a conversation. One thread at a time may use
 * one session; different sessions share nothing.
 *
 * Three holds. The caller keeps three buffers, empty at first: `client` (at most one line of the
 * client), `reply` and `earlier` (at most one line of the server each).
 * smtpstate_policy_client_hold_capacity and smtpstate_policy_reply_hold_capacity return their
 * sizes.
 *
 * Consumed octets. smtpstate_session_receive reads the octets that have arrived from one party and
 * returns how many of them it consumed: at most to the end of the first line, and at least one if
 * the party is wanted. Remove exactly these from the input, and append them to the hold of that
 * party (`client`, or `reply` for a server), BEFORE you carry out the command that came with them.
 * All other octets stay in the input and are given again with the next call, with those that have
 * arrived since. So no octet after STARTTLS is removed before the TLS layer reads it. Peek (recv
 * with MSG_PEEK), or keep an input buffer of your own and give the rest of it to the TLS layer.
 *
 * Three parties. The server that is there from the start and the server that RESTART brings have
 * different names. From the answer to RESTART on, use SMTPSTATE_PARTY_NEW_SERVER for the new one.
 * Octets and the end of the old one change nothing then, however late they are reported. Before
 * that answer there is no new server, and to name it is misuse. Keep the name with the connection
 * to the server: then a late report about the old connection has the old name.
 *
 * The held line. Two rules edit what is held, and smtpstate_finish_line applies both:
 *   forward: the `client` hold without its LF and a CR before it, then CR LF;
 *   pass:    the `reply` (or `earlier`) hold likewise, with its fourth octet set to `separator`. It
 *            is left unchanged where `separator` is 0, and inserted where the line has only three
 *            octets.
 * Nothing else is ever searched, counted or edited.
 *
 * Commands (enum smtpstate_kind). "Empties" is about holds.
 *   KEEP          do nothing.
 *   DROP          empty `hold`.
 *   FORWARD       write the `client` hold to the server, by the rule above; empties it. `verb`
 *                 tells which command it is.
 *   PASS          write the `reply` hold to the client, by the rule above; empties it.
 *   STASH         move the `reply` hold to `earlier`, which is empty then.
 *   PASS_EARLIER  as PASS, for `earlier`.
 *   REPLY         write smtpstate_reply_text(reply) to the client; empties `client`.
 *   RESET_SERVER  write "RSET" CR LF to the server.
 *   PEEK          see, without removing it, whether an octet of `party` is there: first in a buffer
 *                 of your own, then in the kernel. Answer with smtpstate_session_peeked, or with
 *                 smtpstate_session_tls_unavailable.
 *   END_SERVER    close the connection to the old server; empties `reply` and `earlier`.
 *   RESTART       start a new server; answer with smtpstate_session_server_restarted. From then on
 *                 it is NEW_SERVER.
 *   HANDOFF       give the client's connection to the TLS layer, which reads the first octet that
 *                 was not consumed. Discard copies of octets that you only peeked at. Answer with
 *                 smtpstate_session_handshake_finished.
 *   ABORT         STARTTLS cannot come any more, because of `reason`: a TLS helper may end. The
 *                 session continues.
 *   RELAY         write what is held to the other side, then copy octets both ways until both sides
 *                 have ended. Final.
 *   CLOSE         deliver what was written to the client, then close, because of `reason`. Final. A
 *                 close with octets unread is a reset, and the client may lose the last reply: shut
 *                 down your half, read for a moment, then close.
 *
 * Order. After every call that returned a command, carry it out. If it is PEEK, HANDOFF or RESTART
 * and the answer is known at once, give it. Otherwise, while smtpstate_session_interest is
 * SMTPSTATE_INTEREST_AGAIN, fetch the next command with smtpstate_session_next_command. Report
 * other events only after that.
 *
 *   struct smtpstate_step step =
 *       smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, octets, count);
 *   take(step.consumed);                        removes from the input, appends to the hold
 *   carry_out(step.command);
 *   while (smtpstate_session_interest(&session) == SMTPSTATE_INTEREST_AGAIN)
 *     carry_out(smtpstate_session_next_command(&session));
 *
 * FAULTS
 *
 *   A fault of a peer is answered in SMTP (REPLY, CLOSE with a reason). No octet of a peer can do
 *   more. An event that comes too late or twice changes nothing and is answered KEEP.
 *   A fault of the caller closes the session: CLOSE with the reason MISUSE, after ABORT if the
 *   session is undecided. NULL in place of octets, and a number that is no member of its
 *   enumeration, are such faults. In a final phase every event is answered KEEP.
 *
 * NULL in place of a session, a zeroed session, and one that smtpstate_session_init refused to make
 * answer every call that returns a command with CLOSE, reason MISUSE. They are final, in no phase,
 * and have no interest and no deadline. No function here needs a pointer that is not NULL, so none
 * has the attribute nonnull.
 *
 * NUMBERS
 *
 * Every enumeration begins at 1, and 0 stands for none, so that zeroed memory is no valid answer.
 * Where a structure has a uint8_t for an enumeration, its comment names the enumeration.
 */

#ifndef SMTPSTATE_H
#define SMTPSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- Attributes -------------------------------------------------------------------------------- */

/* Empty for compilers that do not know them. */
#if defined(__GNUC__) && __GNUC__ >= 4
#define SMTPSTATE_API __attribute__((visibility("default")))
#define SMTPSTATE_MUST_USE __attribute__((warn_unused_result))
#else
#define SMTPSTATE_API
#define SMTPSTATE_MUST_USE
#endif

/* -- Version ----------------------------------------------------------------------------------- */

/* The version of this header. */
#define SMTPSTATE_VERSION_MAJOR 0
#define SMTPSTATE_VERSION_MINOR 1
#define SMTPSTATE_VERSION_PATCH 0
#define SMTPSTATE_VERSION_STRING "0.1.0"

/* The version of the library, as SMTPSTATE_VERSION_STRING. */
SMTPSTATE_API const char *smtpstate_version(void);

/* The version of the binary interface, and the number in the library's soname. It is raised when
 * the meaning of a structure, a number or a promise of this header changes. */
#define SMTPSTATE_ABI_VERSION 1

/* The interface that the library was built with. Compare it with SMTPSTATE_ABI_VERSION if the
 * library is loaded at run time. */
SMTPSTATE_API uint32_t smtpstate_abi_version(void);

/* -- Policy ------------------------------------------------------------------------------------ */

/* Whether mail may be accepted without TLS. */
enum smtpstate_security {
  /* TLS for clients that request it. RFC 3207, 4 allows a public server on port 25 nothing else. */
  SMTPSTATE_SECURITY_OPPORTUNISTIC = 1,
  /* Before TLS every command but EHLO, NOOP, STARTTLS and QUIT is answered 530: for submission and
   * private peers. */
  SMTPSTATE_SECURITY_REQUIRED
};

/* The protocol of the server. */
enum smtpstate_protocol {
  SMTPSTATE_PROTOCOL_SMTP = 1,
  /* RFC 2033: LHLO in place of EHLO and HELO. */
  SMTPSTATE_PROTOCOL_LMTP
};

/* How the server returns to its initial state before TLS (RFC 3207, 4.2). */
enum smtpstate_server_reset {
  /* A new server: a child process, a new connection, or a server that discards all its state itself
   * at the decision RESTART. Nothing that was sent in clear survives. */
  SMTPSTATE_SERVER_RESET_RESTART = 1,
  /* RSET, where the server cannot be replaced. The EHLO name of the clear phase survives RSET, so
   * inside TLS no command that could use it is forwarded before a new EHLO or HELO was accepted. */
  SMTPSTATE_SERVER_RESET_RSET
};

/* How a line of the client that ends with a bare LF is handled. Commands are forwarded with CR LF,
 * but only until MAIL: after it the session relays octet for octet, and a server that requires CR
 * LF would wait until its timeout. So the default refuses such a client at its first line (RFC
 * 5321, 2.3.8). */
enum smtpstate_bare_line_feed {
  /* As a line; forwarded with CR LF. Only where the server accepts bare LF in message text as
   * well. */
  SMTPSTATE_BARE_LINE_FEED_TOLERATE = 1,
  /* As a malformed line: 500 5.5.2. */
  SMTPSTATE_BARE_LINE_FEED_REJECT
};

/*
 * Settings and limits of a session. Call smtpstate_policy_init, then change what differs. Limits
 * out of range are brought into it when a session is made; none is ever 0. A choice out of range,
 * another `size`, and a zeroed policy are refused.
 *
 * How this structure grows: new members are added at its end. A later library accepts the `size` of
 * every earlier header of the same SMTPSTATE_ABI_VERSION, reads no octet after it, and uses the
 * defaults of the members that are absent. A `size` that it does not know, smaller or larger, is
 * refused: a program with a newer header learns that the library is too old. smtpstate_policy_init
 * writes the members of this header and no others in later libraries as well; a later header has
 * another function for more of them.
 */
struct smtpstate_policy {
  uint32_t size;           /* set by smtpstate_policy_init: sizeof(struct smtpstate_policy) */
  uint8_t security;        /* enum smtpstate_security; default OPPORTUNISTIC */
  uint8_t mail_protocol;   /* enum smtpstate_protocol; default SMTP */
  uint8_t server_reset;    /* enum smtpstate_server_reset; default RESTART */
  uint8_t bare_line_feed;  /* enum smtpstate_bare_line_feed; default REJECT */
  /* 1: AUTH is offered and forwarded in clear, where security is OPPORTUNISTIC. Default 0. */
  uint8_t allows_cleartext_authentication;
  uint8_t reserved[3];     /* 0, or the policy is refused */

  /* Octets of a client's line, CR LF included. At most 65,535. Default 2,048 (RFC 5321, 4.5.3.1.4
   * and the extensions of MAIL). */
  uint32_t command_line_limit;
  /* Octets of one line of a SASL exchange, CR LF included, and of AUTH with an initial response. At
   * most 65,535. Default 12,288 (RFC 4954, 4). AUTH may always have command_line_limit octets. */
  uint32_t response_line_limit;
  /* Octets of one line of the server, CR LF included. At most 65,535. Default 2,048. */
  uint32_t reply_line_limit;
  /* Lines of one reply. At most 65,535. Default 128. */
  uint32_t reply_lines_limit;
  /* Forwarded commands whose replies are outstanding; then the client is no longer read. At most
   * 255. Default 64. */
  uint32_t outstanding_limit;
  /* Lines answered 500 or 502 before the session closes; inside TLS every line that the session
   * answers itself. At most 255. Default 10. */
  uint32_t junk_limit;
  /* Commands before TLS or MAIL before the session closes, whatever their replies. At most 65,535.
   * Default 100. */
  uint32_t command_limit;
  /* Octets of a chunk (BDAT) that was not requested and that is skipped. Default 65,536. */
  uint32_t chunk_limit;

  /* Timers. A session has no clock: the caller runs the timer that smtpstate_session_deadline
   * names. */

  /* From the start, or from a restart, to the server's greeting. Default 60,000. */
  uint32_t greeting_timeout_milliseconds;
  /* For a complete command of the client. Default 300,000 (RFC 5321, 4.5.3.2.7). */
  uint32_t command_timeout_milliseconds;
  /* For a complete reply of the server. Default 300,000. */
  uint32_t reply_timeout_milliseconds;
  /* For the server's answer to the session's RSET. Default 30,000. */
  uint32_t reset_timeout_milliseconds;
  /* From the 220 to the end of the handshake. Default 30,000. */
  uint32_t handshake_timeout_milliseconds;
  /* For the whole clear-text phase: it also ends a client that sends octet by octet. Default
   * 600,000. */
  uint32_t clear_phase_timeout_milliseconds;
};

/* Sets the defaults. NULL: does nothing. */
SMTPSTATE_API void smtpstate_policy_init(struct smtpstate_policy *policy);

/* The largest number of octets in the hold `client`: 12,288 with the defaults, never more than
 * 65,535. NULL is the default policy here; 0 for one that is refused. Give a hold
 * SMTPSTATE_LINE_ROOM octets more. */
SMTPSTATE_API size_t
smtpstate_policy_client_hold_capacity(const struct smtpstate_policy *policy);

/* The same for each of the holds `reply` and `earlier`: 2,048 with the defaults, never more than
 * 65,535. */
SMTPSTATE_API size_t smtpstate_policy_reply_hold_capacity(const struct smtpstate_policy *policy);

/* What the two functions above return for the default policy, for arrays. */
#define SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY 12288
#define SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY 2048

/* -- Vocabulary -------------------------------------------------------------------------------- */

/* Whose octets, or whose end, an event is about. */
enum smtpstate_party {
  SMTPSTATE_PARTY_CLIENT = 1,
  /* The server that is there from the start. After a restart nothing of it counts. */
  SMTPSTATE_PARTY_SERVER,
  /* The server that RESTART brought. To name it before smtpstate_session_server_restarted has
   * reported it is misuse. */
  SMTPSTATE_PARTY_NEW_SERVER
};

/* The holds that DROP names. */
enum smtpstate_hold {
  SMTPSTATE_HOLD_CLIENT = 1,
  SMTPSTATE_HOLD_REPLY
};

/* What the caller has to do: see the table at the top. */
enum smtpstate_kind {
  SMTPSTATE_KIND_KEEP = 1,
  SMTPSTATE_KIND_DROP,          /* with hold */
  SMTPSTATE_KIND_FORWARD,       /* with verb */
  SMTPSTATE_KIND_PASS,          /* with separator */
  SMTPSTATE_KIND_STASH,
  SMTPSTATE_KIND_PASS_EARLIER,  /* with separator */
  SMTPSTATE_KIND_REPLY,         /* with reply */
  SMTPSTATE_KIND_RESET_SERVER,
  SMTPSTATE_KIND_PEEK,          /* with party: CLIENT or SERVER */
  SMTPSTATE_KIND_END_SERVER,
  SMTPSTATE_KIND_RESTART,
  SMTPSTATE_KIND_HANDOFF,
  SMTPSTATE_KIND_ABORT,         /* with reason */
  SMTPSTATE_KIND_RELAY,
  SMTPSTATE_KIND_CLOSE          /* with reason */
};

/* What a client's line is, by its first word. */
enum smtpstate_verb {
  SMTPSTATE_VERB_EHLO = 1,
  SMTPSTATE_VERB_HELO,
  SMTPSTATE_VERB_LHLO,
  SMTPSTATE_VERB_STARTTLS,
  SMTPSTATE_VERB_MAIL,
  SMTPSTATE_VERB_RCPT,
  SMTPSTATE_VERB_DATA,
  SMTPSTATE_VERB_BDAT,
  SMTPSTATE_VERB_RSET,
  SMTPSTATE_VERB_NOOP,
  SMTPSTATE_VERB_VRFY,
  SMTPSTATE_VERB_EXPN,
  SMTPSTATE_VERB_HELP,
  SMTPSTATE_VERB_ETRN,
  SMTPSTATE_VERB_AUTH,
  SMTPSTATE_VERB_QUIT,
  SMTPSTATE_VERB_XCLIENT,
  SMTPSTATE_VERB_XFORWARD,
  /* Methods of HTTP. */
  SMTPSTATE_VERB_GET,
  SMTPSTATE_VERB_POST,
  SMTPSTATE_VERB_PUT,
  SMTPSTATE_VERB_HEAD,
  SMTPSTATE_VERB_OPTIONS,
  SMTPSTATE_VERB_CONNECT,
  SMTPSTATE_VERB_DELETE,
  SMTPSTATE_VERB_PATCH,
  SMTPSTATE_VERB_TRACE,
  /* Any other word. */
  SMTPSTATE_VERB_OTHER,
  /* No word at all: an empty line, or one that begins with a blank. */
  SMTPSTATE_VERB_BLANK,
  /* The answer to a server's 334: one line of a SASL exchange (RFC 4954, 4). Never log it. */
  SMTPSTATE_VERB_RESPONSE
};

/* The session's own replies. */
enum smtpstate_reply {
  /* 250-STARTTLS: the second line of a rewritten reply to EHLO that has more lines; no reply of its
   * own. */
  SMTPSTATE_REPLY_STARTTLS_KEYWORD = 1,
  /* 250 STARTTLS: the second and last line of a rewritten reply to EHLO; no reply of its own. */
  SMTPSTATE_REPLY_LAST_STARTTLS_KEYWORD,
  /* 220 2.0.0: the answer to STARTTLS. After it only TLS or the end of the connection
   * follows (RFC 3207, 4). */
  SMTPSTATE_REPLY_READY_FOR_TLS,
  /* 221 2.0.0: the answer to QUIT from a server that ended without one. */
  SMTPSTATE_REPLY_GOODBYE,
  /* 421 4.3.0: the server failed, or sent a reply that no command asked for. */
  SMTPSTATE_REPLY_SERVER_FAILED,
  /* 421 4.3.2: the server did not start, or did not start again. */
  SMTPSTATE_REPLY_SERVER_UNAVAILABLE,
  /* 421 4.4.2: a timer expired. */
  SMTPSTATE_REPLY_TIMED_OUT,
  /* 421 4.7.0: more junk, or more commands before TLS, than the policy allows. */
  SMTPSTATE_REPLY_TOO_MANY_COMMANDS,
  /* 454 4.3.0: STARTTLS, but the server could not be returned to its initial state; the session
   * continues. */
  SMTPSTATE_REPLY_RESET_FAILED,
  /* 454 4.7.0: STARTTLS, but TLS is unavailable; the session continues. */
  SMTPSTATE_REPLY_TLS_UNAVAILABLE,
  /* 500 5.5.2: a malformed line. */
  SMTPSTATE_REPLY_SYNTAX_ERROR,
  /* 500 5.5.1: EHLO or HELO in LMTP (RFC 2033, 4.1). */
  SMTPSTATE_REPLY_WRONG_GREETING,
  /* 500 5.5.6: a SASL response that is too long or malformed (RFC 4954, 4); the session closes. */
  SMTPSTATE_REPLY_BAD_RESPONSE,
  /* 501 5.5.4: a parameter where none is allowed, or a bad chunk size. */
  SMTPSTATE_REPLY_BAD_PARAMETER,
  /* 502 5.5.1: an unknown verb. */
  SMTPSTATE_REPLY_UNKNOWN_COMMAND,
  /* 503 5.5.1: a command that is not allowed now. */
  SMTPSTATE_REPLY_BAD_SEQUENCE,
  /* 530 5.7.0: a command that RFC 3207, 4 does not allow before TLS, where TLS is required. */
  SMTPSTATE_REPLY_TLS_REQUIRED,
  /* 538 5.7.11: AUTH in clear (RFC 4954, 6). */
  SMTPSTATE_REPLY_ENCRYPTION_REQUIRED,
  /* 552 5.3.4: a chunk that was not requested and is too large to skip; the session closes. */
  SMTPSTATE_REPLY_CHUNK_TOO_LARGE,
  /* 554 5.5.1: HTTP or a TLS record on an SMTP port; the session closes. */
  SMTPSTATE_REPLY_WRONG_PROTOCOL,
  /* 554 5.5.0: plain text after STARTTLS, a command injection; the session closes. */
  SMTPSTATE_REPLY_INJECTED_PLAINTEXT
};

/* Why STARTTLS cannot come any more (ABORT), and why a session closes (CLOSE). */
enum smtpstate_reason {
  /* MAIL in clear: the only reason that closes nothing; the session relays. */
  SMTPSTATE_REASON_MAIL = 1,
  SMTPSTATE_REASON_QUIT,
  /* The client ended its input, and everything that it had sent is processed. */
  SMTPSTATE_REASON_CLIENT_ENDED,
  /* The server ended its input, or could not be started. */
  SMTPSTATE_REASON_SERVER_ENDED,
  /* The server sent 421. */
  SMTPSTATE_REASON_SERVER_REFUSED,
  /* The server sent something that is no SMTP reply, or a reply with two codes, with too many lines
   * or with a line that is too long. */
  SMTPSTATE_REASON_SERVER_GARBAGE,
  /* The server sent a reply that no command asked for. */
  SMTPSTATE_REASON_SERVER_UNASKED,
  /* Timers: the kinds of enum smtpstate_deadline, in their order. */
  SMTPSTATE_REASON_GREETING_TIMEOUT,
  SMTPSTATE_REASON_COMMAND_TIMEOUT,
  SMTPSTATE_REASON_REPLY_TIMEOUT,
  SMTPSTATE_REASON_RESET_TIMEOUT,
  SMTPSTATE_REASON_HANDSHAKE_TIMEOUT,
  SMTPSTATE_REASON_CLEAR_PHASE_TIMEOUT,
  /* Plain text after STARTTLS. */
  SMTPSTATE_REASON_INJECTED_PLAINTEXT,
  /* The TLS handshake failed. */
  SMTPSTATE_REASON_TLS_FAILED,
  /* The server did not start again after the handshake. */
  SMTPSTATE_REASON_RESTART_FAILED,
  /* More junk, or more commands before TLS, than the policy allows. */
  SMTPSTATE_REASON_TOO_MANY_COMMANDS,
  /* HTTP or a TLS record on an SMTP port. */
  SMTPSTATE_REASON_WRONG_PROTOCOL,
  /* A chunk (BDAT) that was not requested, larger than the policy skips. */
  SMTPSTATE_REASON_CHUNK_TOO_LARGE,
  /* A chunk whose size is malformed, so that its end cannot be found. */
  SMTPSTATE_REASON_BAD_CHUNK,
  /* A SASL response that cannot be forwarded, although the server waits for one. */
  SMTPSTATE_REASON_BAD_RESPONSE,
  /* The caller broke the contract. */
  SMTPSTATE_REASON_MISUSE
};

/*
 * One effect, to be carried out at once, in the order in which commands come. A member that a kind
 * does not use is 0, so two commands are equal if their octets are.
 */
struct smtpstate_command {
  uint8_t kind;         /* enum smtpstate_kind */
  uint8_t party;        /* enum smtpstate_party */
  uint8_t hold;         /* enum smtpstate_hold */
  uint8_t verb;         /* enum smtpstate_verb */
  uint8_t separator;    /* the octet: '-' (a line follows) or ' ' (the last line); 0: unchanged */
  uint8_t reply;        /* enum smtpstate_reply */
  uint8_t reason;       /* enum smtpstate_reason */
  uint8_t reserved;     /* 0 */
};

/* The result of smtpstate_session_receive. */
struct smtpstate_step {
  /* How many of the octets are consumed. 0 only if there were none, the party is not wanted, or for
   * misuse. */
  size_t consumed;
  /* What to do after they were appended to their hold. */
  struct smtpstate_command command;
};

/* What a session waits for. CLIENT and SERVER are bits, the others come alone. CLIENT never comes
 * without SERVER: a server may send 421 at any time (RFC 5321, 3.8). */
enum smtpstate_interest {
  /* No octets: the answer to a command (PEEK, HANDOFF, RESTART), or nothing more at all. */
  SMTPSTATE_INTEREST_NONE = 0,
  SMTPSTATE_INTEREST_CLIENT = 1,
  SMTPSTATE_INTEREST_SERVER = 2,
  /* The last event led to more commands: call smtpstate_session_next_command before any other
   * event. */
  SMTPSTATE_INTEREST_AGAIN = 4,
  /* That the kernel has accepted every octet of all earlier commands: call
   * smtpstate_session_output_drained then. */
  SMTPSTATE_INTEREST_DRAIN = 8
};

/* The kinds of timer. */
enum smtpstate_deadline {
  /* No timer runs. */
  SMTPSTATE_DEADLINE_NONE = 0,
  /* The server's greeting. */
  SMTPSTATE_DEADLINE_GREETING = 1,
  /* The client's next complete command. */
  SMTPSTATE_DEADLINE_COMMAND,
  /* The server's next complete reply. */
  SMTPSTATE_DEADLINE_REPLY,
  /* The server's answer to the session's RSET, and PEEK after STARTTLS. */
  SMTPSTATE_DEADLINE_RESET,
  /* The TLS handshake, from the 220 on. */
  SMTPSTATE_DEADLINE_HANDSHAKE,
  /* The whole clear-text phase: started once, together with the timer that
   * smtpstate_session_deadline names, until smtpstate_session_is_clear_phase_over. */
  SMTPSTATE_DEADLINE_CLEAR_PHASE
};

/* Where a session is. */
enum smtpstate_phase {
  /* No session. */
  SMTPSTATE_PHASE_NONE = 0,
  /* From the start until the server's greeting was passed on. The client is not read. */
  SMTPSTATE_PHASE_GREETING = 1,
  /* From the greeting, until a decision. In clear; commands are checked, and replies to
   * EHLO are rewritten. */
  SMTPSTATE_PHASE_NEGOTIATING,
  /* From an accepted STARTTLS where the server is reset by RSET: the caller peeks at the client. No
   * party is read. */
  SMTPSTATE_PHASE_PEEKING_BEFORE_RESET,
  /* From that peek, until RSET is answered. The client is not read. */
  SMTPSTATE_PHASE_RESETTING,
  /* From the answer to RSET: the caller peeks at the server. No party is read. */
  SMTPSTATE_PHASE_PEEKING_AT_SERVER,
  /* From there, or from an accepted STARTTLS: the caller peeks at the client. No party is read. */
  SMTPSTATE_PHASE_PEEKING_AT_CLIENT,
  /* From the 220, until the kernel has accepted it. No party is read. */
  SMTPSTATE_PHASE_PROMISED,
  /* From the handoff: the TLS handshake runs. No party is read. */
  SMTPSTATE_PHASE_HANDSHAKING,
  /* From the end of the handshake, where the server is restarted, until there is one. */
  SMTPSTATE_PHASE_RESTARTING,
  /* From there, until the new server's greeting was received and dropped. The client is not
   * read. */
  SMTPSTATE_PHASE_REGREETING,
  /* In TLS, from the initial state of the server until the session relays or closes. */
  SMTPSTATE_PHASE_SECURED,
  /* From QUIT, until its reply was passed on. The client is not read. */
  SMTPSTATE_PHASE_QUITTING,
  /* From the first line of a 421 that has more, until its last. The client is not read. */
  SMTPSTATE_PHASE_REFUSING,
  /* Final: the caller copies octets. */
  SMTPSTATE_PHASE_RELAYING,
  /* Final. */
  SMTPSTATE_PHASE_CLOSED
};

/* The TLS layer's answer to HANDOFF. */
enum smtpstate_handshake {
  /* The handshake is complete: octets of the client are decrypted from here on. */
  SMTPSTATE_HANDSHAKE_ESTABLISHED = 1,
  /* It failed, or the TLS helper has ended. */
  SMTPSTATE_HANDSHAKE_FAILED
};

/* The answer to RESTART. */
enum smtpstate_restarted {
  /* There is a new server, and it sends a greeting, which is not passed on. */
  SMTPSTATE_RESTARTED_GREETING = 1,
  /* There is a new server, and it sends no greeting: it is part of the caller. */
  SMTPSTATE_RESTARTED_READY,
  /* There is no new server. */
  SMTPSTATE_RESTARTED_FAILED
};

/* -- Session ----------------------------------------------------------------------------------- */

/* A session. Only the library that made it can use it, and only in the same process. */
struct smtpstate_session {
  uint64_t opaque[12];
};

/* Makes a session that waits for the server's greeting. `policy` is read now and not kept; NULL is
 * the default one. False if the policy is refused: for its size, a choice that is out of range or a
 * reserved octet that is not 0. The session is zeroed then. */
SMTPSTATE_API SMTPSTATE_MUST_USE bool
smtpstate_session_init(struct smtpstate_session *session, const struct smtpstate_policy *policy);

/* Whether two sessions are equal: they answer the same events in the same way. False if one of them
 * is no session. */
SMTPSTATE_API bool
smtpstate_session_equal(const struct smtpstate_session *one, const struct smtpstate_session *other);

/* Events. Each reports what has happened, and returns the first command. */

/* `count` octets of a party are there, with those that were not consumed before. They are not
 * kept. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_step
smtpstate_session_receive(
    struct smtpstate_session *session, enum smtpstate_party party, const void *octets, size_t
    count);

/* The next command that the last event led to. While the interest is AGAIN; otherwise KEEP. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_next_command(struct smtpstate_session *session);

/* The input of that party has ended: read returned 0, and no octet of it is left. Do not report the
 * end of the client between HANDOFF and its answer: it belongs to the TLS layer then. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_input_ended(struct smtpstate_session *session, enum smtpstate_party party);

/* The kernel has accepted every octet of all earlier commands. While the interest is DRAIN;
 * otherwise KEEP. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_output_drained(struct smtpstate_session *session);

/* Answers PEEK. `first`: the party's next octet, 0 to 255, or SMTPSTATE_NO_OCTET if there is none,
 * and also where peeking is impossible; any other number is misuse. `ended`: the party has
 * ended. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_peeked(struct smtpstate_session *session, int first, bool ended);
#define SMTPSTATE_NO_OCTET (-1)

/* TLS is unavailable: the helper has ended, there is no certificate. At any time before the 220,
 * also in place of the answer to PEEK and while the interest is AGAIN; later it changes nothing. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_tls_unavailable(struct smtpstate_session *session);

/* Answers HANDOFF. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_handshake_finished(
    struct smtpstate_session *session, enum smtpstate_handshake outcome);

/* Answers RESTART. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_server_restarted(
    struct smtpstate_session *session, enum smtpstate_restarted outcome);

/* That timer has expired. Changes nothing if it does not run. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_session_timer_expired(struct smtpstate_session *session, enum smtpstate_deadline kind);

/* Questions, allowed at any time. */

/* What it waits for: NONE, CLIENT | SERVER, SERVER, AGAIN or DRAIN of enum smtpstate_interest. */
SMTPSTATE_API unsigned smtpstate_session_interest(const struct smtpstate_session *session);

/* The timer that runs now. It starts again at every command but KEEP and DROP, and whenever the
 * kind changes. */
SMTPSTATE_API enum smtpstate_deadline
smtpstate_session_deadline(const struct smtpstate_session *session);

/* The length of a timer, in milliseconds. -1 for NONE, for a number that is no timer, and for a
 * policy that is refused. NULL is the default policy here. */
SMTPSTATE_API int64_t
smtpstate_policy_milliseconds(const struct smtpstate_policy *policy, enum smtpstate_deadline kind);

/* The phase. */
SMTPSTATE_API enum smtpstate_phase smtpstate_session_phase(const struct smtpstate_session *session);

/* Whether RELAY or CLOSE was returned. True for what is no session. */
SMTPSTATE_API bool smtpstate_session_is_final(const struct smtpstate_session *session);

/* Whether HANDOFF or ABORT was returned: SMTPSTATE_DEADLINE_CLEAR_PHASE runs until then. True for
 * what is no session. */
SMTPSTATE_API bool smtpstate_session_is_clear_phase_over(const struct smtpstate_session *session);

/* -- Conversation ------------------------------------------------------------------------------ */

/*
 * A session together with its holds and outputs. It is given octets of all parties, has octets for
 * the client and the server, and leaves a few decisions to the caller.
 *
 *   1. Give it what has arrived, while smtpstate_conversation_wants that party:
 *        used = smtpstate_conversation_receive(&c, SMTPSTATE_PARTY_CLIENT, octets, count);
 *      Remove exactly `used` octets from the input; leave the others where they are.
 *   2. Carry out its decisions:
 *        while ((d = smtpstate_conversation_next_decision(&c)).kind != 0) ...
 *      PEEK, HANDOFF and RESTART are answered. RELAY and CLOSE are the last one.
 *   3. Send its output, for SMTPSTATE_PARTY_CLIENT and for SMTPSTATE_PARTY_SERVER:
 *        octets = smtpstate_conversation_output(&c, SMTPSTATE_PARTY_CLIENT, &count);
 *        smtpstate_conversation_sent(&c, SMTPSTATE_PARTY_CLIENT, accepted);
 *      Then ask for decisions again.
 *   4. Wait: for octets of a party while it is wanted, for room while there is output, and for the
 *      timer of smtpstate_conversation_deadline. That timer starts again whenever
 *      smtpstate_conversation_timer_starts has changed.
 *
 * In a mail server that links this library "the server" is its own command loop: it reads command
 * lines from the output to SMTPSTATE_PARTY_SERVER, and its replies go to
 * smtpstate_conversation_receive.
 *
 * Faults are those of a session. NULL, a zeroed conversation, and one that could not be made want
 * no octets, have no output, and answer smtpstate_conversation_next_decision with CLOSE, reason
 * MISUSE. A conversation is used at the address where it was made, by one thread at a time. It must
 * not be copied: the copy would share its memory.
 */
struct smtpstate_conversation {
  uint64_t opaque[64];
};

/* The memory for the holds and outputs of a conversation of this policy, in octets. NULL is the
 * default policy; 0 for one that is refused. */
SMTPSTATE_API size_t smtpstate_conversation_memory_size(const struct smtpstate_policy *policy);

/* Makes a conversation that waits for the server's greeting. `memory` belongs to the caller, and
 * must stay at its address while the conversation is used; any alignment will do. False if the
 * policy is refused, or `memory` is NULL or smaller than the size above. */
SMTPSTATE_API SMTPSTATE_MUST_USE bool
smtpstate_conversation_init(
    struct smtpstate_conversation *conversation, const struct smtpstate_policy *policy, void
    *memory, size_t size);

/* Whether octets of that party are accepted now. If not, leave them unread. */
SMTPSTATE_API bool
smtpstate_conversation_wants(
    const struct smtpstate_conversation *conversation, enum smtpstate_party party);

/* `count` octets of a party are there. Returns how many are consumed: 0 if the party is not
 * wanted. */
SMTPSTATE_API SMTPSTATE_MUST_USE size_t
smtpstate_conversation_receive(
    struct smtpstate_conversation *conversation, enum smtpstate_party party, const void *octets,
    size_t count);

/* The input of that party has ended, and none of its octets is left. Do not report the end of the
 * client between HANDOFF and its answer: it belongs to the TLS layer then. */
SMTPSTATE_API void
smtpstate_conversation_input_ended(
    struct smtpstate_conversation *conversation, enum smtpstate_party party);

/* The octets to send to that party, valid until the next event or the next call of
 * smtpstate_conversation_next_decision; NULL and 0 if there are none. SERVER and NEW_SERVER are the
 * same here. `count` may be NULL. */
SMTPSTATE_API const void
*smtpstate_conversation_output(
    const struct smtpstate_conversation *conversation, enum smtpstate_party party, size_t *count);

/* The kernel has accepted so many of them. If the connection of that party accepts nothing any
 * more, report all of them. */
SMTPSTATE_API void
smtpstate_conversation_sent(
    struct smtpstate_conversation *conversation, enum smtpstate_party party, size_t count);

/* TLS is unavailable. At any time before the 220, also in place of the answer to PEEK, and before
 * that decision was fetched: then it does not come any more. After the 220 this changes nothing. */
SMTPSTATE_API void
smtpstate_conversation_tls_unavailable(struct smtpstate_conversation *conversation);

/* Answers PEEK, like smtpstate_session_peeked. */
SMTPSTATE_API void
smtpstate_conversation_peeked(struct smtpstate_conversation *conversation, int first, bool ended);

/* Answers HANDOFF. */
SMTPSTATE_API void
smtpstate_conversation_handshake_finished(
    struct smtpstate_conversation *conversation, enum smtpstate_handshake outcome);

/* Answers RESTART. */
SMTPSTATE_API void
smtpstate_conversation_server_restarted(
    struct smtpstate_conversation *conversation, enum smtpstate_restarted outcome);

/* That timer has expired. Changes nothing if it does not run. */
SMTPSTATE_API void
smtpstate_conversation_timer_expired(
    struct smtpstate_conversation *conversation, enum smtpstate_deadline kind);

/* The next decision: PEEK, HANDOFF, ABORT, END_SERVER, RESTART, RELAY or CLOSE, as for a session.
 * At RELAY send what is left of both outputs before anything else. `kind` is 0 if there is no
 * decision. Carry it out before the next call. */
SMTPSTATE_API SMTPSTATE_MUST_USE struct smtpstate_command
smtpstate_conversation_next_decision(struct smtpstate_conversation *conversation);

/* The timer that runs, and how often timers were started: after a change it starts again. */
SMTPSTATE_API enum smtpstate_deadline
smtpstate_conversation_deadline(const struct smtpstate_conversation *conversation);
SMTPSTATE_API uint32_t
smtpstate_conversation_timer_starts(const struct smtpstate_conversation *conversation);

/* As for a session. */
SMTPSTATE_API enum smtpstate_phase
smtpstate_conversation_phase(const struct smtpstate_conversation *conversation);
SMTPSTATE_API bool
smtpstate_conversation_is_final(const struct smtpstate_conversation *conversation);
SMTPSTATE_API bool
smtpstate_conversation_is_clear_phase_over(const struct smtpstate_conversation *conversation);

/* -- The held line ----------------------------------------------------------------------------- */

/* How many octets of room smtpstate_finish_line needs after a held line. */
#define SMTPSTATE_LINE_ROOM 3

/*
 * Makes of a held line what FORWARD (with `separator` 0), PASS and PASS_EARLIER write: removes its
 * LF and a CR before it, sets or inserts the fourth octet, appends CR LF. In place; there must be
 * room for SMTPSTATE_LINE_ROOM octets more. Returns the new length. 0 if `line` is NULL or empty:
 * then there is nothing to write.
 */
SMTPSTATE_API SMTPSTATE_MUST_USE size_t
smtpstate_finish_line(void *line, size_t length, uint8_t separator);

/* -- Words ------------------------------------------------------------------------------------- */

/* The octets of a reply, CR LF included, as a string; "" for a number that is no reply. Never
 * NULL. */
SMTPSTATE_API const char *smtpstate_reply_text(enum smtpstate_reply reply);

/* Names for logs, without any octet that a peer sent: "client ended", "EHLO", "clear phase",
 * "negotiating". "none" for 0 and any number that has no name. Never NULL. */
SMTPSTATE_API const char *smtpstate_reason_name(enum smtpstate_reason reason);
SMTPSTATE_API const char *smtpstate_verb_name(enum smtpstate_verb verb);
SMTPSTATE_API const char *smtpstate_deadline_name(enum smtpstate_deadline kind);
SMTPSTATE_API const char *smtpstate_phase_name(enum smtpstate_phase phase);

/* A command in words, for logs: "forward EHLO", "reply 503 5.5.1", "abort mail", "close client
 * ended". Written to `buffer` as snprintf does: cut to `size` octets, NUL included; nothing is
 * written if that is 0 or `buffer` is NULL. Returns the length of the whole text, which is less
 * than SMTPSTATE_DESCRIPTION_SIZE. */
SMTPSTATE_API size_t
smtpstate_command_describe(struct smtpstate_command command, char *buffer, size_t size);
#define SMTPSTATE_DESCRIPTION_SIZE 48

/* -- Layout ------------------------------------------------------------------------------------ */

/* What the library was built with. A compiler that lays these structures out differently stops
 * here. */
typedef char smtpstate_policy_has_68_octets[sizeof(struct smtpstate_policy) == 68 ? 1 : -1];
typedef char smtpstate_command_has_8_octets[sizeof(struct smtpstate_command) == 8 ? 1 : -1];
typedef char smtpstate_session_has_96_octets[sizeof(struct smtpstate_session) == 96 ? 1 : -1];
typedef char smtpstate_conversation_has_512_octets
    [sizeof(struct smtpstate_conversation) == 512 ? 1 : -1];

#ifdef __cplusplus
}
#endif

#endif
