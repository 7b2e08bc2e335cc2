/*
 * starts: how long a start of a program takes its caller, by posix_spawn(3) and by kernel_spawn, as the number of open descriptors grows.
 *
 *     starts PROGRAM COUNT
 *
 * Prints a line for each number of descriptors and each way, which take turns: the median and the 90th percentile in microseconds, from
 * the call until the program is executed. kernel_spawn gets its stream at a low number, as starttlsd-start does, or above all others.
 * Both make the program a session of its own (setsid): the scheduler's groups then decide when the caller goes on.
 */
#define _GNU_SOURCE
#include "CKernel.h"
#include "times.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POSIX, LOW, HIGH, WAYS };
static const char *const names[WAYS] = {"posix_spawn", "kernel_spawn, a low number", "kernel_spawn, a high number"};
static char *environment[] = {NULL};
static int low, high;

static int one(char *program, int way) {
  char *arguments[] = {program, NULL};
  pid_t child;
  if (way == POSIX) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, low, 0);
    posix_spawn_file_actions_adddup2(&actions, low, 1);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    int error = posix_spawn(&child, program, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error ? -1 : child;
  }
  const char *paths[] = {program, NULL};
  struct kernel_spawn setting = {.paths = paths, .arguments = arguments, .environment = environment, .standard_streams = way == LOW ? low : high};
  int pidfd;
  child = kernel_spawn(&setting, &pidfd);
  if (child > 0) close(pidfd);
  return child;
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

int main(int count, char **words) {
  int repeats = count == 3 ? atoi(words[2]) : 0, open_now = 0;
  if (repeats < 1) return 100;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  low = open("/dev/null", O_RDWR | O_CLOEXEC);
  double *times[WAYS];
  for (int way = 0; way < WAYS; way++) times[way] = malloc(sizeof(double) * (size_t)repeats);
  static const int tables[] = {0, 1000, 10000};
  for (size_t table = 0; table < sizeof tables / sizeof *tables; table++) {
    for (; open_now < tables[table]; open_now++)
      if (fcntl(low, F_DUPFD_CLOEXEC, 3) < 0) return perror("starts: too few descriptors"), 111;
    high = fcntl(low, F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < repeats; i++)
      for (int way = 0; way < WAYS; way++) {
        double begin = now();
        pid_t child = one(words[1], way);
        times[way][i] = (now() - begin) * 1e6;
        if (child < 0) return perror("starts: cannot start"), 111;
        waitpid(child, NULL, 0);
      }
    close(high);
    for (int way = 0; way < WAYS; way++) {
      qsort(times[way], (size_t)repeats, sizeof(double), compare);
      printf("%d %s: %.0f %.0f\n", tables[table], names[way], times[way][repeats / 2], times[way][repeats * 9 / 10]);
    }
  }
  return 0;
}
