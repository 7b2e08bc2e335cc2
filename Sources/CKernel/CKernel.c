/* CKernel: the wrappers of CKernel.h. Only this file defines _GNU_SOURCE. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert(POLLRDHUP == 0x2000, "POLLRDHUP");
_Static_assert(POSIX_SPAWN_SETSID == 0x80, "POSIX_SPAWN_SETSID");

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Sockets and pipes. */

int kernel_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
  return accept4(listener, address, length, flags);
}

int kernel_pipe2(int *ends, int flags) {
  return pipe2(ends, flags);
}

int kernel_duplicate_above(int descriptor, int least) {
  return fcntl(descriptor, F_DUPFD_CLOEXEC, least);
}

ssize_t kernel_read_nowait(int descriptor, void *buffer, size_t count) {
  struct iovec vector = {.iov_base = buffer, .iov_len = count};
  return preadv2(descriptor, &vector, 1, -1, RWF_NOWAIT);
}

ssize_t kernel_write_nowait(int descriptor, const void *buffer, size_t count) {
  struct iovec vector = {.iov_base = (void *)buffer, .iov_len = count};
  return pwritev2(descriptor, &vector, 1, -1, RWF_NOWAIT);
}

int kernel_close_range(unsigned first, unsigned last, int flags) {
  return close_range(first, last, flags);
}

/* Processes. */

/* The intermediate child shares this process's memory and does only two things: it calls _Fork, which is permitted after
 * vfork, and stores the result. The process that it creates has a copy of the memory with this stack frame and its
 * callers. It may therefore return from this function; the intermediate child must not. */
int kernel_fork_detached(void) {
  /* The error if the intermediate child is killed: try again. */
  volatile int failure = EAGAIN;
  pid_t between = vfork();
  if (between < 0) return -1;
  if (between == 0) {
    pid_t detached = _Fork();
    if (detached == 0) return 0;
    failure = detached > 0 ? 0 : errno;
    _exit(0);
  }
  /* ECHILD: SIGCHLD is ignored in this process, and the kernel has reaped the child. */
  while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {}
  if (failure == 0) return 1;
  errno = failure;
  return -1;
}

int kernel_pidfd_open(pid_t process) {
  return (int)syscall(SYS_pidfd_open, process, 0);
}

int kernel_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int kernel_pidfd_reap(int pidfd, bool *killed, int *value) {
  siginfo_t information = {0};
  if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &information, WEXITED | WNOHANG) != 0) return -1;
  if (information.si_pid == 0) return 0;
  *killed = information.si_code != CLD_EXITED;
  *value = information.si_status;
  return 1;
}

int kernel_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

bool kernel_WIFEXITED(int status) { return WIFEXITED(status); }
int kernel_WEXITSTATUS(int status) { return WEXITSTATUS(status); }
bool kernel_WIFSIGNALED(int status) { return WIFSIGNALED(status); }
int kernel_WTERMSIG(int status) { return WTERMSIG(status); }
bool kernel_WIFSTOPPED(int status) { return WIFSTOPPED(status); }

int kernel_setresuid(uid_t real, uid_t effective, uid_t saved) {
  return setresuid(real, effective, saved);
}

int kernel_setresgid(gid_t real, gid_t effective, gid_t saved) {
  return setresgid(real, effective, saved);
}

int kernel_setgroups(size_t count, const gid_t *groups) {
  return setgroups(count, groups);
}

/* getopt. */

int kernel_getopt_long(
  int count, char *const *arguments, const char *short_options, const struct option *long_options, int *index) {
  return getopt_long(count, arguments, short_options, long_options, index);
}

int kernel_optind(void) { return optind; }
void kernel_set_optind(int index) { optind = index; }
const char *kernel_optarg(void) { return optarg; }
void kernel_set_opterr(int on) { opterr = on; }

/* Fault injection for tests. */

_Thread_local void *kernel_fault_object;
