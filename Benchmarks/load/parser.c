/*
 * parser: a plain state machine in C that does the look-ups of the core, to compare the number of instructions with.
 *
 *     parser start|ehlo|noop|starttls|mail COUNT
 *
 * It reads octets as they come, keeps none, and has the same limits and verbs: lines of 2,048 octets, NUL, CR without LF and LF
 * without CR refused, 27 verbs in upper or lower case, 100 commands, 10 junk lines, replies of at most 128 lines whose codes are of
 * one kind. Of the reply to EHLO it removes STARTTLS, XCLIENT, XFORWARD, REQUIRETLS and AUTH, and inserts STARTTLS. It has no BDAT chunks,
 * no AUTH exchange, no phases inside TLS, no holds and no timeouts: it is what one would write by hand for these four commands.
 * Every round begins with a copy of a session that is ready for the command, as in core-bench.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_LIMIT = 2048, LINES_LIMIT = 128, COMMANDS_LIMIT = 100, JUNK_LIMIT = 10, OUTSTANDING_LIMIT = 64 };
enum verb { OTHER, EHLO, HELO, LHLO, STARTTLS, MAIL, RCPT, DATA, BDAT, RSET, NOOP, VRFY, EXPN, HELP, ETRN, AUTH, QUIT, XCLIENT, XFORWARD, HTTP };

/* A word of at most nine letters as a number, six bits a letter. */
#define L(c) ((uint64_t)((c) & 63))
#define W3(a, b, c) (L(a) << 12 | L(b) << 6 | L(c))
#define W4(a, b, c, d) (W3(a, b, c) << 6 | L(d))
#define W5(a, b, c, d, e) (W4(a, b, c, d) << 6 | L(e))
#define W8(a, b, c, d, e, f, g, h) (W4(a, b, c, d) << 24 | W4(e, f, g, h))
#define W7(a, b, c, d, e, f, g) (W4(a, b, c, d) << 18 | W3(e, f, g))
#define W10(a, b, c, d, e, f, g, h, i, j) (W8(a, b, c, d, e, f, g, h) << 12 | L(i) << 6 | L(j))

struct line {
  uint64_t word;
  uint16_t position, word_length;
  bool ends_with_cr, word_ended, has_parameter, malformed;
};

struct session {
  struct line line;
  uint16_t commands, junk, outstanding, reply_lines, code, first_code;
  bool knows_ehlo, awaits_ehlo, greeted, holds_line, inserted, hands_off, relays, closes;
};

/* What the caller has to do: forward so many octets of the line, reply with a text, or both. */
struct action {
  enum { NOTHING, FORWARD, REPLY, PASS, DROP, HAND_OFF, RELAY, CLOSE } kind;
  const char *text;
};

static enum verb verb_of(uint64_t word) {
  switch (word) {
  case W4('E', 'H', 'L', 'O'): return EHLO;
  case W4('H', 'E', 'L', 'O'): return HELO;
  case W4('L', 'H', 'L', 'O'): return LHLO;
  case W8('S', 'T', 'A', 'R', 'T', 'T', 'L', 'S'): return STARTTLS;
  case W4('M', 'A', 'I', 'L'): return MAIL;
  case W4('R', 'C', 'P', 'T'): return RCPT;
  case W4('D', 'A', 'T', 'A'): return DATA;
  case W4('B', 'D', 'A', 'T'): return BDAT;
  case W4('R', 'S', 'E', 'T'): return RSET;
  case W4('N', 'O', 'O', 'P'): return NOOP;
  case W4('V', 'R', 'F', 'Y'): return VRFY;
  case W4('E', 'X', 'P', 'N'): return EXPN;
  case W4('H', 'E', 'L', 'P'): return HELP;
  case W4('E', 'T', 'R', 'N'): return ETRN;
  case W4('A', 'U', 'T', 'H'): return AUTH;
  case W4('Q', 'U', 'I', 'T'): return QUIT;
  case W7('X', 'C', 'L', 'I', 'E', 'N', 'T'): return XCLIENT;
  case W8('X', 'F', 'O', 'R', 'W', 'A', 'R', 'D'): return XFORWARD;
  case W3('G', 'E', 'T'): case W4('P', 'O', 'S', 'T'): case W3('P', 'U', 'T'): case W4('H', 'E', 'A', 'D'):
  case W7('O', 'P', 'T', 'I', 'O', 'N', 'S'): case W7('C', 'O', 'N', 'N', 'E', 'C', 'T'): case W5('P', 'A', 'T', 'C', 'H'):
  case W5('T', 'R', 'A', 'C', 'E'): case W4('D', 'E', 'L', 'E') << 12 | L('T') << 6 | L('E'): return HTTP;
  default: return OTHER;
  }
}

/* Reads one octet of a line whose word begins at `start`. True at its end. */
static inline __attribute__((always_inline)) bool scan(struct line *line, unsigned char octet, uint16_t start, bool at_equals) {
  if (octet == '\n') {
    if (!line->ends_with_cr) line->malformed = true;
    return true;
  }
  if (line->ends_with_cr || octet == 0) line->malformed = true;
  line->ends_with_cr = octet == '\r';
  if (line->position < LINE_LIMIT && ++line->position == LINE_LIMIT) line->malformed = true;
  if (octet == '\r' || line->position <= start) return false;
  if (octet == ' ' || octet == '\t' || (at_equals && octet == '=')) line->word_ended = true;
  else if (line->word_ended) line->has_parameter = true;
  else {
    unsigned char upper = octet & 0xdf;
    bool letter = upper >= 'A' && upper <= 'Z';
    line->word = letter && line->word_length < 10 ? line->word << 6 | L(upper) : ~(uint64_t)0;
    line->word_length = letter && line->word_length < 10 ? line->word_length + 1 : 11;
  }
  return false;
}

static struct action junk(struct session *s, const char *text) {
  if (++s->junk <= JUNK_LIMIT) return (struct action){REPLY, text};
  s->closes = true;
  return (struct action){CLOSE, "421 4.7.0 Too many errors\r\n"};
}

static struct action forward(struct session *s) {
  s->outstanding++;
  return (struct action){FORWARD, NULL};
}

/* One octet of the client. */
static struct action from_client(struct session *s, unsigned char octet) {
  if (s->line.position == 0 && octet == 0x16) return s->closes = true, (struct action){CLOSE, "554 5.5.1 Not TLS here\r\n"};
  if (!scan(&s->line, octet, 0, false)) return (struct action){NOTHING, NULL};
  struct line line = s->line;
  s->line = (struct line){0};
  if (++s->commands > COMMANDS_LIMIT) return s->closes = true, (struct action){CLOSE, "421 4.7.0 Too many commands\r\n"};
  if (line.malformed || line.word_length == 0) return junk(s, "500 5.5.2 Malformed line\r\n");
  switch (verb_of(line.word)) {
  case EHLO: s->awaits_ehlo = true; return forward(s);
  case HELO: case RSET: case NOOP: case VRFY: case EXPN: case HELP: case ETRN: return forward(s);
  case STARTTLS:
    if (line.has_parameter) return (struct action){REPLY, "501 5.5.4 No parameters\r\n"};
    if (!s->knows_ehlo) return (struct action){REPLY, "503 5.5.1 EHLO first\r\n"};
    s->hands_off = true;
    return (struct action){HAND_OFF, "220 2.0.0 Ready to start TLS\r\n"};
  case MAIL: s->relays = true; return (struct action){RELAY, NULL};
  case QUIT: return line.has_parameter ? (struct action){REPLY, "501 5.5.4 No parameters\r\n"} : forward(s);
  case AUTH: return (struct action){REPLY, "538 5.7.11 Encryption required\r\n"};
  case RCPT: case DATA: case BDAT: return (struct action){REPLY, "503 5.5.1 MAIL first\r\n"};
  case HTTP: return s->closes = true, (struct action){CLOSE, "554 5.5.1 Wrong protocol\r\n"};
  case LHLO: case XCLIENT: case XFORWARD: case OTHER: break;
  }
  return junk(s, "502 5.5.1 Unknown command\r\n");
}

static struct action garbage(struct session *s) { return s->closes = true, (struct action){CLOSE, "421 4.3.0 Server error\r\n"}; }

/* The kind of a code: those of one reply must agree. */
static int kind_of(int code) {
  return code == 220 || code == 235 || code == 250 || code == 334 || code == 421 ? code : code / 100;
}

/* One octet of the server. A kept line of the reply to EHLO is passed on when the next one has arrived. */
static struct action from_server(struct session *s, unsigned char octet) {
  uint16_t at = s->line.position;
  if (at < 3 && octet != '\n') {
    if (octet < '0' || octet > '9' || (at == 0 && (octet < '2' || octet > '5'))) return garbage(s);
    s->code = (uint16_t)(at == 0 ? octet - '0' : s->code * 10 + octet - '0');
    if (at == 2 && s->reply_lines > 0 && kind_of(s->code) != kind_of(s->first_code)) return garbage(s);
  } else if (at < 3 || (at == 3 && octet != ' ' && octet != '-' && octet != '\r' && octet != '\n')) return garbage(s);
  bool was_cr = s->line.ends_with_cr;
  if (at == 3) s->holds_line = octet == '-';
  if (!scan(&s->line, octet, 4, true)) return s->line.malformed ? garbage(s) : (struct action){NOTHING, NULL};
  if (!was_cr) s->line.malformed = false;
  struct line line = s->line;
  bool first = s->reply_lines == 0, last = !s->holds_line;
  s->line = (struct line){0};
  if (s->outstanding == 0 || ++s->reply_lines > LINES_LIMIT) return garbage(s);
  if (first) s->first_code = s->code;
  struct action action = {PASS, NULL};
  if (s->awaits_ehlo && s->code == 250) {
    if (!first) switch (line.word) {
      case W8('S', 'T', 'A', 'R', 'T', 'T', 'L', 'S'): case W7('X', 'C', 'L', 'I', 'E', 'N', 'T'): case W4('A', 'U', 'T', 'H'):
      case W8('X', 'F', 'O', 'R', 'W', 'A', 'R', 'D'): case W10('R', 'E', 'Q', 'U', 'I', 'R', 'E', 'T', 'L', 'S'): action.kind = DROP;
      }
    if (!s->inserted && (!first || last)) s->inserted = true, action.text = "250-STARTTLS\r\n";
  }
  if (last) {
    if (s->awaits_ehlo) s->knows_ehlo = s->code == 250;
    s->awaits_ehlo = s->inserted = false;
    s->greeted = true;
    s->reply_lines = 0;
    s->outstanding--;
  }
  return action;
}

static unsigned long done;
static void give(struct session *s, const char *text, bool from_the_client) {
  for (; *text; text++) {
    struct action action = from_the_client ? from_client(s, (unsigned char)*text) : from_server(s, (unsigned char)*text);
    if (action.kind != NOTHING) done += action.kind + (action.text != NULL);
  }
}

int main(int count, char **words) {
  static const char ehlo[] = "EHLO client.example\r\n", listed[] = "250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n";
  if (count != 3) return 100;
  struct session ready = {.outstanding = 1};
  give(&ready, "220 mail.example ESMTP\r\n", false);
  give(&ready, ehlo, true);
  give(&ready, listed, false);
  if (!ready.knows_ehlo || ready.closes) return 1;
  for (long left = atol(words[2]); left > 0; left--) {
    struct session s = ready;
    if (!strcmp(words[1], "ehlo")) give(&s, ehlo, true), give(&s, listed, false);
    else if (!strcmp(words[1], "noop")) give(&s, "NOOP\r\n", true), give(&s, "250 2.0.0 OK\r\n", false);
    else if (!strcmp(words[1], "starttls")) give(&s, "STARTTLS\r\n", true);
    else if (!strcmp(words[1], "mail")) give(&s, "MAIL FROM:<somebody@client.example>\r\n", true);
    done += s.closes;
  }
  printf("%lu\n", done);
  return 0;
}
