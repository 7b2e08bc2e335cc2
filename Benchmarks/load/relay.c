/*
 * relay: one client that sends a long message, and how many octets a second arrive.
 *
 *     relay PORT clear|starttls|tls SECONDS
 *
 * The session is: greeting, EHLO, [STARTTLS, handshake, EHLO,] MAIL, RCPT to sink@backend.example, DATA. With `tls` it begins with the
 * handshake. Then lines of text in writes of 64 KiB for SECONDS, the dot, and the reply, which arrives when the server has read all.
 * Prints one line of JSON: MB (10^6 octets) a second, and the part of a processor that this client has used.
 */
#include "client.h"
#include "dialogue.h"
#include "times.h"

int main(int count, char **words) {
  if (count != 4) return 100;
  begin_message(words[1], words[2]);
  ask("DATA\r\n", "354");
  static char text[1 << 16];
  make_lines(text, sizeof text);
  double begin = now(), end = begin + atof(words[3]), processor = processor_time(), sent = 0;
  do {
    for (int i = 0; i < 16; i++) put(text, sizeof text);
    sent += 16 * sizeof text;
  } while (now() < end);
  ask(".\r\n", "250");
  double seconds = now() - begin;
  printf("{\"rate\": %.1f, \"octets\": %.0f, \"client\": %.3f}\n", sent / seconds / 1e6, sent, (processor_time() - processor) / seconds);
  return 0;
}
