/*
 * transfer: one client that sends a message of a given size, or receives as much, inside TLS.
 *
 *     transfer PORT starttls|tls send|receive MIB
 *
 * The session is that of `relay` up to the reply to RCPT. It prints `begin` and waits for an octet of its input. To send: DATA, lines of text in writes of 64 KiB, the dot, and
 * the reply, which arrives when the server has read all. To receive: SEND, which only the servers of this benchmark have: so many MiB of
 * lines, and the reply after them. Then it prints one line of JSON, the seconds and those of the processor that this client has used, and
 * keeps the session until its input ends: so the processor time of the server's processes can be read while they run.
 */
#include "client.h"
#include "dialogue.h"
#include "times.h"

static char text[1 << 16];

static void send_message(long long octets) {
  ask("DATA\r\n", "354");
  make_lines(text, sizeof text);
  for (; octets > 0; octets -= (long long)sizeof text) put(text, sizeof text);
  ask(".\r\n", "250");
}

static void receive_lines(long long octets) {
  char command[64];
  snprintf(command, sizeof command, "SEND %lld\r\n", octets >> 20);
  put(command, strlen(command));
  size_t got = 1;
  /* Not one octet of the reply, which is for ask(). */
  for (; octets > 0; octets -= (long long)got) got = get(text, octets < (long long)sizeof text ? (size_t)octets : sizeof text);
  if (text[got - 1] != '\n') fail("other text");
  ask("", "250");
}

int main(int count, char **words) {
  if (count != 5 || atoll(words[4]) <= 0) return 100;
  setvbuf(stdout, NULL, _IOLBF, 0);
  begin_message(words[1], words[2]);
  printf("begin\n");
  char octet;
  if (read(0, &octet, 1) != 1) return 1;
  double begin = now(), processor = processor_time();
  (strcmp(words[3], "send") ? receive_lines : send_message)(atoll(words[4]) << 20);
  printf("{\"seconds\": %.4f, \"client\": %.4f}\n", now() - begin, processor_time() - processor);
  if (read(0, &octet, 1) < 0) return 1;
  ask("QUIT\r\n", "221");
  return 0;
}
