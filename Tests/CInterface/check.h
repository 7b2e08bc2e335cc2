/* check.h: checks that count and go on. Compiles as C99, C11 and C++. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>

#include <smtpstate.h>

extern int checks;
extern int failures;

#define CHECK(condition)                                                        \
  do {                                                                          \
    checks++;                                                                   \
    if (!(condition)) {                                                         \
      failures++;                                                               \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
    }                                                                           \
  } while (0)

/* A command in the words of smtpstate_command_describe. */
#define CHECK_COMMAND(command, words) check_command(__FILE__, __LINE__, command, words)
void check_command(const char *file, int line, struct smtpstate_command command, const char *words);

#define CHECK_TEXT(text, expected) check_text(__FILE__, __LINE__, text, expected)
void check_text(const char *file, int line, const char *text, const char *expected);

/* The programs of the other files. */
void test_conversations(void);
void test_dialogues(void);
void test_misuse(void);
void test_policy(void);
void test_words(void);

#endif
