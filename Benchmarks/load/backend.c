/*
 * backend: the SMTP server of the benchmark as a program: one session on descriptors 0 and 1.
 *
 *     backend [waits]
 *
 * It ends after its reply to QUIT. With `waits` it first waits for the end of its input: for a relay that loses the last reply of a program
 * that has ended.
 */
#include "dialogue.h"
#include <stdbool.h>
#include <unistd.h>

static bool put(const char *text) { return write(1, text, strlen(text)) == (ssize_t)strlen(text); }

static bool discard_text(void) {
  static char text[1 << 16];
  char last[5] = "";
  for (;;) {
    ssize_t got = read(0, text, sizeof text);
    if (got <= 0) return false;
    if (ends_text(last, text, (size_t)got)) return put(OK);
  }
}

static bool put_lines(long long octets) {
  enum { AT_ONCE = 1 << 16 };
  static char lines[AT_ONCE + 64];
  /* Most commands ask for none, and to fill the buffer takes longer than all else. */
  if (!octets) return true;
  make_lines(lines, sizeof lines);
  for (long long sent = 0; sent < octets;) {
    long long left = octets - sent;
    ssize_t now = write(1, lines + sent % 64, left < AT_ONCE ? (size_t)left : AT_ONCE);
    if (now <= 0) return false;
    sent += now;
  }
  return true;
}

int main(int arguments, char **words) {
  (void)words;
  char line[1024];
  size_t count = 0;
  if (!put(GREETING)) return 1;
  for (;;) {
    ssize_t got = read(0, line + count, sizeof line - count);
    if (got <= 0) return 0;
    count += (size_t)got;
    char *end;
    while ((end = memchr(line, '\n', count))) {
      const char *reply = reply_to(line, 0);
      if (!put_lines(octets_to_send(line)) || !put(reply)) return 0;
      if (!memcmp(reply, "221", 3)) {
        while (arguments > 1 && read(0, line, sizeof line) > 0) {}
        return 0;
      }
      if (!memcmp(reply, "354", 3) && !discard_text()) return 1;
      count -= (size_t)(end + 1 - line);
      memmove(line, end + 1, count);
    }
    if (count == sizeof line) return 1;
  }
}
