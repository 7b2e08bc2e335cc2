/* main.c: runs all tests of the C interface that are written in C. Prints one line; exits 1 if a check failed. */

#include "check.h"

int checks;
int failures;

void check_command(const char *file, int line, struct smtpstate_command command, const char *words) {
  char text[SMTPSTATE_DESCRIPTION_SIZE];
  CHECK(smtpstate_command_describe(command, text, sizeof text) < sizeof text);
  check_text(file, line, text, words);
}

void check_text(const char *file, int line, const char *text, const char *expected) {
  checks++;
  if (strcmp(text, expected) == 0) return;
  failures++;
  fprintf(stderr, "%s:%d: '%s' expected, got '%s'\n", file, line, expected, text);
}

int main(void) {
  test_words();
  test_policy();
  test_misuse();
  test_dialogues();
  test_conversations();
  printf("%d checks, %d failed\n", checks, failures);
  return failures != 0;
}
