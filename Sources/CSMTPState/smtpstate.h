/*
 * smtpstate.h: decides when STARTTLS is requested, or provably abandoned, in an SMTP session.
 *
 * A session stands between a client and a server that has no TLS. It is told what happened and answers with one
 * command, one effect, at a time. It has no buffer, no clock and no descriptor; it allocates nothing, calls nothing
 * back and has no global state. The caller does all the work on octets. In a mail server that links this library the
 * "server" is that server's own command loop.
 *
 * THE CONTRACT
 *
 * Who owns what. Every structure here is plain data and the caller's. Copy with `=`: a copy goes its own way. There is
 * nothing to free. Strings that are returned are constants. Nothing that is passed in is kept. One thread at a time may
 * use one session; different sessions have nothing in common.
 *
 * Three holds. The caller keeps three buffers, empty at first: `client` (at most one line of the client), `reply` and
 * `earlier` (at most one line of the server each); smtpstate_policy_client_hold_capacity and
 * smtpstate_policy_reply_hold_capacity say how large they get.
 *
 * Consumed. smtpstate_session_receive looks at the octets that have come from one side and says how many of them it
 * consumed: at most to the end of the first line, and at least one if the side is wanted. Take exactly these from the
 * input, and append them to that side's hold (`client`, or `reply` for a server), BEFORE carrying out the command that
 * came with them. All others stay where they are, unread, and are shown again at the next call, with what has come
 * since. An octet behind STARTTLS is therefore never taken before the TLS layer takes it: that is the point of it all.
 * Peek (recv with MSG_PEEK), or keep an input buffer of your own and hand its rest to the TLS layer.
 *
 * Three parties. The server that is there from the start and the one that RESTART brings have different names. From the answer
 * to RESTART on, say SMTPSTATE_PARTY_NEW_SERVER for the new one; octets and the end of the old one change nothing then, however
 * late they are reported. Before that answer there is no new server, and to name it is misuse. Give the name to the connection,
 * not to the session: so a late report of the old connection has the old name.
 *
 * The held line. Two rules touch what is held, and smtpstate_finish_line does both:
 *   forward: the `client` hold without its LF and a CR before it, then CR LF;
 *   pass:    the `reply` (`earlier`) hold likewise, and its fourth octet set to `separator`: left as it is where `separator` is 0,
 *            else replaced, or inserted where the line is only three octets long.
 * Nothing else is ever searched, counted or edited.
 *
 * What to do on each command (enum smtpstate_kind). "Empties" is about holds.
 *   KEEP          nothing.
 *   DROP          empty `hold`.
 *   FORWARD       write the `client` hold to the server, by the rule above; empties it. `verb` says what it is.
 *   PASS          write the `reply` hold to the client, by the rule above; empties it.
 *   STASH         move the `reply` hold to `earlier`, which is empty then.
 *   PASS_EARLIER  as PASS, for `earlier`.
 *   REPLY         write smtpstate_reply_text(reply) to the client; empties `client`.
 *   RESET_SERVER  write "RSET" CR LF to the server.
 *   PEEK          see, without taking it, whether an octet of `party` waits; answer with smtpstate_session_peeked. First in
 *                 a buffer of your own, then in the kernel. Or answer with smtpstate_session_tls_unavailable.
 *   END_SERVER    close the connection to the old server; empties `reply` and `earlier`.
 *   RESTART       start a new server; answer with smtpstate_session_server_restarted. From then on it is NEW_SERVER.
 *   HANDOFF       the client's connection goes to the TLS layer, which reads the first octet that was not consumed; forget any
 *                 copy of octets that you only peeked at. Answer with smtpstate_session_handshake_finished.
 *   ABORT         STARTTLS cannot come any more, because of `reason`: send a TLS helper away. The session goes on.
 *   RELAY         write what is held to the other side, then copy octets both ways until both have ended. Final.
 *   CLOSE         deliver what was written to the client, then close, because of `reason`. Final. Unread octets would make the
 *                 close a reset that takes the last reply back: shut down your half, read on for a moment, then close.
 *
 * In turn. After every call that returned a command, carry it out; if it is PEEK, HANDOFF or RESTART and the answer is
 * known at once, give it; else, while smtpstate_session_interest is SMTPSTATE_INTEREST_AGAIN, fetch the next command with
 * smtpstate_session_next_command. Only then tell the session of anything else.
 *
 *   struct smtpstate_step step = smtpstate_session_receive(&session, SMTPSTATE_PARTY_CLIENT, octets, count);
 *   take(step.consumed);                                   appends to the hold
 *   carry_out(step.command);
 *   while (smtpstate_session_interest(&session) == SMTPSTATE_INTEREST_AGAIN) carry_out(smtpstate_session_next_command(&session));
 *
 * What is wrong. Three kinds, kept apart:
 *   a peer's fault is answered in SMTP (REPLY, CLOSE with a reason); no octet of a peer can do worse;
 *   what comes too late or twice changes nothing and is answered KEEP;
 *   a fault of the caller closes the session: CLOSE, reason MISUSE (after ABORT, if the session is undecided). So do NULL for
 *   octets and a number that is no member of its enumeration. In a final phase everything is answered KEEP.
 * NULL in place of a session, a zeroed session and one that smtpstate_session_init refused to make are answered CLOSE, reason
 * MISUSE, by every call that returns a command; they are final, in no phase, have no interest and no deadline. Nothing crashes.
 *
 * Numbers. Every enumeration begins at 1, and 0 stands for none, so that zeroed memory is never taken for an answer. Where a
 * structure has a uint8_t for an enumeration, its comment names it.
 */

#ifndef SMTPSTATE_H
#define SMTPSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- Version --------------------------------------------------------------------------------------------------- */

/* The version of this interface. It grows when a structure, a number or a promise of this header changes its meaning. */
#define SMTPSTATE_ABI_VERSION 1

/* The version that the library was built with: compare it with SMTPSTATE_ABI_VERSION if the library may be another one. */
uint32_t smtpstate_abi_version(void);

/* -- Policy ---------------------------------------------------------------------------------------------------- */

/* Whether mail may go on without TLS. */
enum smtpstate_security {
  /* TLS for whoever asks. The only choice that RFC 3207, 4 allows a server for the public on port 25. */
  SMTPSTATE_SECURITY_OPPORTUNISTIC = 1,
  /* Everything but EHLO, NOOP, STARTTLS and QUIT gets 530 before TLS: for submission and private peers. */
  SMTPSTATE_SECURITY_REQUIRED
};

/* The protocol that the server speaks. */
enum smtpstate_protocol {
  SMTPSTATE_PROTOCOL_SMTP = 1,
  /* RFC 2033: LHLO in place of EHLO and HELO. */
  SMTPSTATE_PROTOCOL_LMTP
};

/* How the server comes back to its first state before TLS (RFC 3207, 4.2). */
enum smtpstate_server_reset {
  /* A new one: a child started anew, a new connection; or a server that forgets everything itself, when the command RESTART
   * tells it to. Nothing that was said in clear survives. */
  SMTPSTATE_SERVER_RESET_RESTART = 1,
  /* RSET, where the server cannot be replaced. The EHLO name of the clear phase survives that, so inside TLS nothing that
   * could use it is forwarded before a new EHLO or HELO was accepted. */
  SMTPSTATE_SERVER_RESET_RSET
};

/* What a line of the client that ends with a bare LF is. Commands are forwarded with CR LF, but only until MAIL: then the session
 * relays octet for octet, and a server that wants CR LF would wait for it until a time-out. So the default refuses a client that
 * sends LF alone at its first line (RFC 5321, 2.3.8). */
enum smtpstate_bare_line_feed {
  /* A line, forwarded with CR LF. Only where the server itself accepts bare LF, in message text as well. */
  SMTPSTATE_BARE_LINE_FEED_TOLERATE = 1,
  /* A malformed line: 500 5.5.2. */
  SMTPSTATE_BARE_LINE_FEED_REJECT
};

/*
 * What a session allows, offers and bears. Let smtpstate_policy_init fill it in, then change what differs. Limits out of range
 * are brought into it when a session is made; none is ever 0. A choice out of range is refused, and so is a zeroed policy.
 */
struct smtpstate_policy {
  uint8_t security;        /* enum smtpstate_security; default OPPORTUNISTIC */
  uint8_t mail_protocol;   /* enum smtpstate_protocol; default SMTP */
  uint8_t server_reset;    /* enum smtpstate_server_reset; default RESTART */
  uint8_t bare_line_feed;  /* enum smtpstate_bare_line_feed; default REJECT */
  /* 1: AUTH is offered and forwarded in clear, where security is OPPORTUNISTIC. Default 0. */
  uint8_t allows_cleartext_authentication;
  uint8_t reserved[3];     /* 0, or the policy is refused */

  /* Octets of a client's line, CR LF included. At most 65,535. Default 2,048 (RFC 5321, 4.5.3.1.4 and the extensions of MAIL). */
  uint32_t command_line_limit;
  /* Octets of one line of a SASL exchange, CR LF included, and of AUTH with an initial response. At most 65,535. Default 12,288
   * (RFC 4954, 4). AUTH may always have command_line_limit octets. */
  uint32_t response_line_limit;
  /* Octets of one line of the server, CR LF included. At most 65,535. Default 2,048. */
  uint32_t reply_line_limit;
  /* Lines of one reply. At most 65,535. Default 128. */
  uint32_t reply_lines_limit;
  /* Commands forwarded whose replies are owed; then the client is no longer read. At most 255. Default 64. */
  uint32_t outstanding_limit;
  /* Lines answered 500 or 502 before the session closes; inside TLS every line that the session answers itself. At most 255.
   * Default 10. */
  uint32_t junk_limit;
  /* Commands before TLS or MAIL before the session closes, however they are answered. At most 65,535. Default 100. */
  uint32_t command_limit;
  /* Octets of a chunk (BDAT) that nobody asked for and that is skipped. Default 65,536. */
  uint32_t chunk_limit;

  /* Timers. A session has no clock: the caller runs the kind that smtpstate_session_deadline names. */

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
  /* For the whole clear-text phase, so that a slow drip ends too. Default 600,000. */
  uint32_t clear_phase_timeout_milliseconds;
};

/* Fills in the defaults. NULL: does nothing. */
void smtpstate_policy_init(struct smtpstate_policy *policy);

/* The largest number of octets that the hold `client` gets to hold: 12,288 with the defaults, never more than 65,535.
 * NULL is the default policy here; 0 for one that is refused. Give a hold SMTPSTATE_LINE_ROOM octets more. */
size_t smtpstate_policy_client_hold_capacity(const struct smtpstate_policy *policy);

/* The same for each of the holds `reply` and `earlier`: 2,048 with the defaults, never more than 65,535. */
size_t smtpstate_policy_reply_hold_capacity(const struct smtpstate_policy *policy);

/* What the two functions above say of the default policy, for arrays. */
#define SMTPSTATE_DEFAULT_CLIENT_HOLD_CAPACITY 12288
#define SMTPSTATE_DEFAULT_REPLY_HOLD_CAPACITY 2048

/* -- Vocabulary ------------------------------------------------------------------------------------------------ */

/* Whose octets, or whose end, an event is about. */
enum smtpstate_party {
  SMTPSTATE_PARTY_CLIENT = 1,
  /* The server that is there from the start. After a restart nothing of it counts. */
  SMTPSTATE_PARTY_SERVER,
  /* The server that RESTART brought. It cannot be named before smtpstate_session_server_restarted has reported it: that is misuse. */
  SMTPSTATE_PARTY_NEW_SERVER
};

/* The holds that DROP names. */
enum smtpstate_hold {
  SMTPSTATE_HOLD_CLIENT = 1,
  SMTPSTATE_HOLD_REPLY
};

/* What a command tells the caller to do: see the table at the top. */
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

/* What a client's line is, judged by its first word. */
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
  /* The answer to a server's 334: one line of a SASL exchange (RFC 4954, 4). Never to be logged. */
  SMTPSTATE_VERB_RESPONSE
};

/* The session's own replies. */
enum smtpstate_reply {
  /* 250-STARTTLS: the second line of a rewritten reply to EHLO that has more lines, not a reply of its own. */
  SMTPSTATE_REPLY_STARTTLS_KEYWORD = 1,
  /* 250 STARTTLS: the second and last line of a rewritten reply to EHLO, not a reply of its own. */
  SMTPSTATE_REPLY_LAST_STARTTLS_KEYWORD,
  /* 220 2.0.0: the answer to STARTTLS. After it the client gets TLS or the end of the connection (RFC 3207, 4). */
  SMTPSTATE_REPLY_READY_FOR_TLS,
  /* 221 2.0.0: the answer to QUIT from a server that ended without one. */
  SMTPSTATE_REPLY_GOODBYE,
  /* 421 4.3.0: the server failed or spoke out of turn. */
  SMTPSTATE_REPLY_SERVER_FAILED,
  /* 421 4.3.2: the server did not come up, or did not come back. */
  SMTPSTATE_REPLY_SERVER_UNAVAILABLE,
  /* 421 4.4.2: a timer passed. */
  SMTPSTATE_REPLY_TIMED_OUT,
  /* 421 4.7.0: more junk, or more commands before TLS, than the policy allows. */
  SMTPSTATE_REPLY_TOO_MANY_COMMANDS,
  /* 454 4.3.0: STARTTLS while the server could not be brought back to its first state; the session goes on. */
  SMTPSTATE_REPLY_RESET_FAILED,
  /* 454 4.7.0: STARTTLS while TLS cannot be had; the session goes on. */
  SMTPSTATE_REPLY_TLS_UNAVAILABLE,
  /* 500 5.5.2: a malformed line. */
  SMTPSTATE_REPLY_SYNTAX_ERROR,
  /* 500 5.5.1: EHLO or HELO in LMTP (RFC 2033, 4.1). */
  SMTPSTATE_REPLY_WRONG_GREETING,
  /* 500 5.5.6: a SASL response that is too long or malformed (RFC 4954, 4); the session closes. */
  SMTPSTATE_REPLY_BAD_RESPONSE,
  /* 501 5.5.4: a parameter where none is allowed, or a bad chunk size. */
  SMTPSTATE_REPLY_BAD_PARAMETER,
  /* 502 5.5.1: a verb that is not known here. */
  SMTPSTATE_REPLY_UNKNOWN_COMMAND,
  /* 503 5.5.1: a command that must not come now. */
  SMTPSTATE_REPLY_BAD_SEQUENCE,
  /* 530 5.7.0: anything but what RFC 3207, 4 allows before TLS, where TLS is required. */
  SMTPSTATE_REPLY_TLS_REQUIRED,
  /* 538 5.7.11: AUTH in clear (RFC 4954, 6). */
  SMTPSTATE_REPLY_ENCRYPTION_REQUIRED,
  /* 552 5.3.4: a chunk that nobody asked for and that is too large to skip; the session closes. */
  SMTPSTATE_REPLY_CHUNK_TOO_LARGE,
  /* 554 5.5.1: HTTP or a TLS record on an SMTP port; the session closes. */
  SMTPSTATE_REPLY_WRONG_PROTOCOL,
  /* 554 5.5.0: plain text behind STARTTLS, a command injection; the session closes. */
  SMTPSTATE_REPLY_INJECTED_PLAINTEXT
};

/* What proved that STARTTLS cannot come any more (ABORT), and why a session closes (CLOSE). */
enum smtpstate_reason {
  /* MAIL in clear: the one reason that closes nothing; the session relays. */
  SMTPSTATE_REASON_MAIL = 1,
  SMTPSTATE_REASON_QUIT,
  /* The client ended its input, and nothing of what it had sent is left to do. */
  SMTPSTATE_REASON_CLIENT_ENDED,
  /* The server ended its input, or could not be started. */
  SMTPSTATE_REASON_SERVER_ENDED,
  /* The server said 421. */
  SMTPSTATE_REASON_SERVER_REFUSED,
  /* The server sent something that is no SMTP reply, or one with two codes, too many lines or too long a line. */
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
  /* Plain text behind STARTTLS. */
  SMTPSTATE_REASON_INJECTED_PLAINTEXT,
  /* The TLS handshake failed. */
  SMTPSTATE_REASON_TLS_FAILED,
  /* The server did not come back after the handshake. */
  SMTPSTATE_REASON_RESTART_FAILED,
  /* More junk, or more commands before TLS, than the policy allows. */
  SMTPSTATE_REASON_TOO_MANY_COMMANDS,
  /* HTTP or a TLS record on an SMTP port. */
  SMTPSTATE_REASON_WRONG_PROTOCOL,
  /* A chunk (BDAT) that nobody asked for, larger than the policy skips. */
  SMTPSTATE_REASON_CHUNK_TOO_LARGE,
  /* A chunk whose size cannot be read, so that its end cannot be found. */
  SMTPSTATE_REASON_BAD_CHUNK,
  /* A SASL response that cannot be forwarded, although the server waits for one. */
  SMTPSTATE_REASON_BAD_RESPONSE,
  /* The caller broke the contract. */
  SMTPSTATE_REASON_MISUSE
};

/*
 * One effect, to be carried out at once and in the order in which commands come. What a kind does not come with is 0, so two
 * commands are the same if their octets are.
 */
struct smtpstate_command {
  uint8_t kind;         /* enum smtpstate_kind */
  uint8_t party;        /* enum smtpstate_party */
  uint8_t hold;         /* enum smtpstate_hold */
  uint8_t verb;         /* enum smtpstate_verb */
  uint8_t separator;       /* the octet itself: '-' (another line follows) or ' ' (the last line); 0: as the server sent it */
  uint8_t reply;        /* enum smtpstate_reply */
  uint8_t reason;       /* enum smtpstate_reason */
  uint8_t reserved;     /* 0 */
};

/* What one call of smtpstate_session_receive came to. */
struct smtpstate_step {
  /* How many of the octets given are consumed. 0 only if there were none, the party is not wanted, or for misuse. */
  size_t consumed;
  /* The one thing to do, once they are in their hold. */
  struct smtpstate_command command;
};

/* What a session waits for. CLIENT and SERVER are bits, the others come alone. CLIENT never comes without SERVER: a server may
 * say 421 at any time (RFC 5321, 3.8). */
enum smtpstate_interest {
  /* No octets: the answer to a command (PEEK, HANDOFF, RESTART), or nothing more at all. */
  SMTPSTATE_INTEREST_NONE = 0,
  SMTPSTATE_INTEREST_CLIENT = 1,
  SMTPSTATE_INTEREST_SERVER = 2,
  /* The last event led to more commands: smtpstate_session_next_command, before anything else. */
  SMTPSTATE_INTEREST_AGAIN = 4,
  /* That every octet of all earlier commands is accepted by the kernel: smtpstate_session_output_drained then. */
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
  /* The server's answer to the session's RSET, and the looks after STARTTLS. */
  SMTPSTATE_DEADLINE_RESET,
  /* TLS, from the 220 on. */
  SMTPSTATE_DEADLINE_HANDSHAKE,
  /* The whole clear-text phase: armed once at the start, beside the kind that smtpstate_session_deadline names, until
   * smtpstate_session_is_clear_phase_over. */
  SMTPSTATE_DEADLINE_CLEAR_PHASE
};

/* Where a session is. */
enum smtpstate_phase {
  /* It is no session. */
  SMTPSTATE_PHASE_NONE = 0,
  /* From the start, until the server's greeting was passed on. The client is not read. */
  SMTPSTATE_PHASE_GREETING = 1,
  /* From the greeting, until a decision. In clear; commands are judged, replies to EHLO rewritten. */
  SMTPSTATE_PHASE_NEGOTIATING,
  /* From an accepted STARTTLS where the server is reset by RSET: the caller looks at the client. Nobody is read. */
  SMTPSTATE_PHASE_PEEKING_BEFORE_RESET,
  /* From that look, until RSET is answered. The client is not read. */
  SMTPSTATE_PHASE_RESETTING,
  /* From the answer to RSET: the caller looks at the server. Nobody is read. */
  SMTPSTATE_PHASE_PEEKING_AT_SERVER,
  /* From there, or from an accepted STARTTLS: the caller looks at the client. Nobody is read. */
  SMTPSTATE_PHASE_PEEKING_AT_CLIENT,
  /* From the 220, until it is with the kernel. Nobody is read. */
  SMTPSTATE_PHASE_PROMISED,
  /* From the handoff: the TLS layer is at work. Nobody is read. */
  SMTPSTATE_PHASE_HANDSHAKING,
  /* From the end of the handshake, where the server is restarted, until there is one. */
  SMTPSTATE_PHASE_RESTARTING,
  /* From there, until the new server's greeting was swallowed. The client is not read. */
  SMTPSTATE_PHASE_REGREETING,
  /* In TLS, from the first state of the server, until the session relays or closes. */
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
  /* The handshake is complete: octets of the client are decrypted ones from here on. */
  SMTPSTATE_HANDSHAKE_ESTABLISHED = 1,
  /* It failed, or the helper is gone. */
  SMTPSTATE_HANDSHAKE_FAILED
};

/* The answer to RESTART. */
enum smtpstate_restarted {
  /* A new server is there and will greet; its 220 is swallowed. */
  SMTPSTATE_RESTARTED_GREETING = 1,
  /* A new server is there and will not greet: it is part of the caller. */
  SMTPSTATE_RESTARTED_READY,
  /* There is none. */
  SMTPSTATE_RESTARTED_FAILED
};

/* -- Session --------------------------------------------------------------------------------------------------- */

/* A session. Its octets are the library's business and mean nothing to another version of it, or in another process. */
struct smtpstate_session {
  uint64_t opaque[12];
};

/* Makes a session that waits for the server's greeting. `policy`: read now, not kept; NULL is the default one.
 * False if it is refused, for a choice that is out of range or a reserved octet that is not 0; the session is zeroed then. */
bool smtpstate_session_init(struct smtpstate_session *session, const struct smtpstate_policy *policy);

/* Whether two sessions are equal: then they have equal futures. Never true if one of them is none. */
bool smtpstate_session_equal(const struct smtpstate_session *one, const struct smtpstate_session *other);

/* Events. Each says that something has happened, and returns the first thing to do. */

/* `count` octets of a party have come, those not consumed before; they are read, not kept. */
struct smtpstate_step smtpstate_session_receive(
    struct smtpstate_session *session, enum smtpstate_party party, const void *octets, size_t count);

/* Nothing has happened: the rest of what the last event led to. While the interest is AGAIN; else KEEP. */
struct smtpstate_command smtpstate_session_next_command(struct smtpstate_session *session);

/* That party's input is over: reading it returned 0, so that no octet of it is left. */
struct smtpstate_command smtpstate_session_input_ended(struct smtpstate_session *session, enum smtpstate_party party);

/* Every octet of all earlier commands is accepted by the kernel. While the interest is DRAIN; else KEEP. */
struct smtpstate_command smtpstate_session_output_drained(struct smtpstate_session *session);

/* Answers PEEK. `first`: the party's next octet, 0 to 255, or SMTPSTATE_NO_OCTET if none waits (also where one cannot look);
 * any other number is misuse. `ended`: the party has ended. */
struct smtpstate_command smtpstate_session_peeked(struct smtpstate_session *session, int first, bool ended);
#define SMTPSTATE_NO_OCTET (-1)

/* TLS cannot be had: the helper is gone, there is no certificate. At any time before the 220, also in place of the answer to
 * PEEK and while the interest is AGAIN; later it changes nothing. */
struct smtpstate_command smtpstate_session_tls_unavailable(struct smtpstate_session *session);

/* Answers HANDOFF. */
struct smtpstate_command smtpstate_session_handshake_finished(struct smtpstate_session *session, enum smtpstate_handshake outcome);

/* Answers RESTART. */
struct smtpstate_command smtpstate_session_server_restarted(
    struct smtpstate_session *session, enum smtpstate_restarted outcome);

/* That timer passed. Changes nothing unless it runs. */
struct smtpstate_command smtpstate_session_timer_expired(struct smtpstate_session *session, enum smtpstate_deadline kind);

/* What can be asked of a session at any time. */

/* What it waits for: NONE, CLIENT | SERVER, SERVER, AGAIN or DRAIN of enum smtpstate_interest. */
unsigned smtpstate_session_interest(const struct smtpstate_session *session);

/* The kind of timer that runs now. Started anew at every command but KEEP and DROP, and whenever it becomes another one. */
enum smtpstate_deadline smtpstate_session_deadline(const struct smtpstate_session *session);

/* The length of a timer: what to give to poll, but for the time that has passed already. -1 where no timer runs. NULL is the
 * default policy here. */
int64_t smtpstate_policy_milliseconds(const struct smtpstate_policy *policy, enum smtpstate_deadline kind);

/* Where it is. */
enum smtpstate_phase smtpstate_session_phase(const struct smtpstate_session *session);

/* Whether it is over: RELAY or CLOSE was returned. True for what is no session. */
bool smtpstate_session_is_final(const struct smtpstate_session *session);

/* Whether HANDOFF or ABORT was returned: SMTPSTATE_DEADLINE_CLEAR_PHASE runs until then. True for what is no session. */
bool smtpstate_session_is_clear_phase_over(const struct smtpstate_session *session);

/* -- Conversation -------------------------------------------------------------------------------------------- */

/*
 * A conversation is a session with its holds: for those who do not want to keep any. It takes octets of all parties, has octets
 * for the client and the server, and leaves a few decisions to the caller. It still has no descriptor and no clock, and allocates nothing.
 *
 *   1. Give it what has arrived:   used = smtpstate_conversation_receive(&c, SMTPSTATE_PARTY_CLIENT, octets, count);
 *                                  take exactly `used` octets from the input; leave the others where they are.
 *   2. Carry its decisions out:    while ((d = smtpstate_conversation_next_decision(&c)).kind != 0) ...
 *                                  PEEK, HANDOFF and RESTART are answered; RELAY and CLOSE are the last one.
 *   3. Send what it has:           octets = smtpstate_conversation_output(&c, SMTPSTATE_PARTY_CLIENT, &count); then
 *                                  smtpstate_conversation_sent(&c, SMTPSTATE_PARTY_CLIENT, accepted);
 *                                  and the same for SMTPSTATE_PARTY_SERVER. After it decisions may be there again.
 *   4. Wait:                       for octets of a party while smtpstate_conversation_wants it, for room while there is output,
 *                                  and for the timer of smtpstate_conversation_deadline, which starts again whenever
 *                                  smtpstate_conversation_timer_starts has changed.
 *
 * In a mail server that links this library "the server" is its own command loop: read command lines from the output to
 * SMTPSTATE_PARTY_SERVER, and give replies to smtpstate_conversation_receive.
 */
struct smtpstate_conversation {
  uint64_t opaque[64];
};

/* How much memory a conversation of this policy needs for its holds and outputs, in octets. NULL is the default policy; 0 for
 * one that is refused. */
size_t smtpstate_conversation_memory_size(const struct smtpstate_policy *policy);

/* Makes a conversation that waits for the server's greeting. `memory` stays the caller's, and must stay at its address as long
 * as the conversation is used. False if the policy is refused, or `memory` is NULL or smaller than the size above. */
bool smtpstate_conversation_init(struct smtpstate_conversation *conversation, const struct smtpstate_policy *policy,
                                 void *memory, size_t size);

/* Whether octets of that party are accepted now. If not, leave them unread. */
bool smtpstate_conversation_wants(const struct smtpstate_conversation *conversation, enum smtpstate_party party);

/* Octets have arrived. Returns how many are consumed: 0 if the party is not wanted. */
size_t smtpstate_conversation_receive(
    struct smtpstate_conversation *conversation, enum smtpstate_party party, const void *octets, size_t count);

/* The input of that party has ended, and none of its octets is left. */
void smtpstate_conversation_input_ended(struct smtpstate_conversation *conversation, enum smtpstate_party party);

/* The octets that wait to be sent to that party, valid until the next event; NULL and 0 if there are none. */
const void *smtpstate_conversation_output(
    const struct smtpstate_conversation *conversation, enum smtpstate_party party, size_t *count);

/* So many of them were accepted by the kernel. Give all of them where the side's connection takes nothing more. */
void smtpstate_conversation_sent(struct smtpstate_conversation *conversation, enum smtpstate_party party, size_t count);

/* TLS cannot be had. After the 220 this changes nothing. */
void smtpstate_conversation_tls_unavailable(struct smtpstate_conversation *conversation);

/* Answers PEEK, like smtpstate_session_peeked. */
void smtpstate_conversation_peeked(struct smtpstate_conversation *conversation, int first, bool ended);

/* Answers HANDOFF. */
void smtpstate_conversation_handshake_finished(
    struct smtpstate_conversation *conversation, enum smtpstate_handshake outcome);

/* Answers RESTART. */
void smtpstate_conversation_server_restarted(
    struct smtpstate_conversation *conversation, enum smtpstate_restarted outcome);

/* That timer passed. */
void smtpstate_conversation_timer_expired(
    struct smtpstate_conversation *conversation, enum smtpstate_deadline kind);

/* The next thing to do: PEEK, HANDOFF, ABORT, END_SERVER, RESTART, RELAY or CLOSE, as for a session. `kind` is 0 when nothing
 * is left to do. Carry it out before the next call. */
struct smtpstate_command smtpstate_conversation_next_decision(struct smtpstate_conversation *conversation);

/* The timer that runs, and how often timers were started: a change means that it starts now. */
enum smtpstate_deadline smtpstate_conversation_deadline(const struct smtpstate_conversation *conversation);
uint32_t smtpstate_conversation_timer_starts(const struct smtpstate_conversation *conversation);

/* As for a session. */
enum smtpstate_phase smtpstate_conversation_phase(const struct smtpstate_conversation *conversation);
bool smtpstate_conversation_is_final(const struct smtpstate_conversation *conversation);
bool smtpstate_conversation_is_clear_phase_over(const struct smtpstate_conversation *conversation);

/* -- The held line ---------------------------------------------------------------------------------------------- */

/* How many octets of room smtpstate_finish_line needs behind a held line. */
#define SMTPSTATE_LINE_ROOM 3

/*
 * Makes of a held line what FORWARD (with `separator` 0), PASS and PASS_EARLIER write: takes its LF and a CR before it away, sets
 * or inserts the fourth octet as told, appends CR LF. In place; there must be room for SMTPSTATE_LINE_ROOM octets more.
 * Returns the new length. 0 if `line` is NULL or there is nothing in it: then nothing is to be written.
 */
size_t smtpstate_finish_line(void *line, size_t length, uint8_t separator);

/* -- Words ------------------------------------------------------------------------------------------------------ */

/* The octets of a reply, CR LF included, as a string; "" for a number that is no reply. */
const char *smtpstate_reply_text(enum smtpstate_reply reply);

/* Names for logs, without any octet that a peer sent: "client ended", "EHLO", "clear phase", "negotiating". "none" for 0 and any
 * number that has no name. */
const char *smtpstate_reason_name(enum smtpstate_reason reason);
const char *smtpstate_verb_name(enum smtpstate_verb verb);
const char *smtpstate_deadline_name(enum smtpstate_deadline kind);
const char *smtpstate_phase_name(enum smtpstate_phase phase);

/* A command in words, for logs: "forward EHLO", "reply 503 5.5.1", "abort mail", "close client ended". Written to `buffer` as
 * snprintf does: cut to `size` octets, NUL included (nothing at all if that is 0 or `buffer` is NULL); returns the length that
 * it has uncut, which is less than SMTPSTATE_DESCRIPTION_SIZE. */
size_t smtpstate_command_describe(struct smtpstate_command command, char *buffer, size_t size);
#define SMTPSTATE_DESCRIPTION_SIZE 48

/* -- Layout ------------------------------------------------------------------------------------------------------ */

/* What the library was built with. A compiler that lays these structures out differently stops here. */
typedef char smtpstate_policy_has_64_octets[sizeof(struct smtpstate_policy) == 64 ? 1 : -1];
typedef char smtpstate_command_has_8_octets[sizeof(struct smtpstate_command) == 8 ? 1 : -1];
typedef char smtpstate_session_has_96_octets[sizeof(struct smtpstate_session) == 96 ? 1 : -1];

#ifdef __cplusplus
}
#endif

#endif
