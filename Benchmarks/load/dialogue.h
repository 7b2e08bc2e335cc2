/*
 * dialogue: the replies of the SMTP server that stands for all servers of the benchmark.
 *
 * It does the least that the sessions need, so that the front-end is what is measured. Recipients are refused, as a server refuses
 * those of other domains. Only sink@backend.example is accepted: it is for the measurement of relays, whose text is thrown away. SEND is
 * for that of the other direction: so many MiB of lines, and then the reply.
 */
#ifndef DIALOGUE_H
#define DIALOGUE_H
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GREETING "220 backend.example ESMTP\r\n"
#define CAPABILITIES "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 8BITMIME\r\n"
#define STARTTLS_CAPABILITIES "250-backend.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
#define GO_AHEAD "220 2.0.0 Ready to start TLS\r\n"
#define SEND_TEXT "354 End with a line that has only a dot\r\n"
#define BYE "221 2.0.0 Bye\r\n"
#define OK "250 2.0.0 OK\r\n"

/* The reply to a line. Its first digits say what follows: 220 a handshake, 221 the end, 354 text. */
static inline const char *reply_to(const char *line, int offers_starttls) {
  if (!strncasecmp(line, "EHLO", 4)) return offers_starttls ? STARTTLS_CAPABILITIES : CAPABILITIES;
  if (!strncasecmp(line, "RCPT", 4)) return strncasecmp(line, "RCPT TO:<sink@backend.example>", 30) ? "550 5.7.1 No relaying\r\n" : OK;
  if (!strncasecmp(line, "DATA", 4)) return SEND_TEXT;
  if (!strncasecmp(line, "QUIT", 4)) return BYE;
  if (offers_starttls && !strncasecmp(line, "STARTTLS", 8)) return GO_AHEAD;
  return OK;
}

/* How many octets the command SEND asks for; 0 for every other line. */
static inline long long octets_to_send(const char *line) {
  return strncasecmp(line, "SEND ", 5) ? 0 : atoll(line + 5) << 20;
}

/* Lines of 64 octets; so they fit into a buffer and into a MiB. */
static inline void make_lines(char *octets, size_t count) {
  for (size_t i = 0; i < count; i++) octets[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
}

/* True at the end of the text: the last five octets of it are those of a line with only a dot. */
static inline int ends_text(char last[5], const char *octets, size_t count) {
  if (count >= 5) memcpy(last, octets + count - 5, 5);
  else {
    memmove(last, last + count, 5 - count);
    memcpy(last + 5 - count, octets, count);
  }
  return !memcmp(last, "\r\n.\r\n", 5);
}
#endif
