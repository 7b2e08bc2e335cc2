/*
 * reaper: runs a program and waits for all of its descendants, also those whose parents have ended. So their processor time is in the
 * account of this process when they have ended, and none is lost.
 *
 *     reaper PROGRAM [ARGUMENT...]
 *
 * SIGTERM goes to the program, also when the parent of the reaper has ended. It ends with the program.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t program;
static void pass_on(int number) { if (program > 0) kill(program, number); }

int main(int count, char **words) {
  if (count < 2) return 100;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  program = fork();
  if (program == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(words[1], words + 1);
    perror(words[1]);
    _exit(111);
  }
  signal(SIGTERM, pass_on);
  for (;;) {
    pid_t ended = wait(NULL);
    if (ended == program) return 0;
  }
}
