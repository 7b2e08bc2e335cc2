/*
 * spawn: how many processes of a program a second this machine starts, when it does nothing else: the bound of a front-end that
 * starts one for each session. PARALLEL processes run at a time; each finds the end of file on its standard input and ends.
 *
 *     spawn SECONDS PARALLEL PROGRAM
 *
 * Prints the rate.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "times.h"

int main(int count, char **words) {
  if (count != 4) return 100;
  double begin = now(), end = begin + atof(words[1]);
  int running = 0, parallel = atoi(words[2]);
  long started = 0;
  char *program[] = {words[3], NULL}, *environment[] = {NULL};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  while (now() < end) {
    while (running < parallel) {
      pid_t child;
      if (posix_spawn(&child, words[3], &actions, NULL, program, environment)) return 111;
      running++;
    }
    if (wait(NULL) > 0) running--, started++;
  }
  printf("%.1f\n", (double)started / (now() - begin));
  while (running-- > 0) wait(NULL);
  return 0;
}
