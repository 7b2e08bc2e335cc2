/* Spawn: starts a program at a cost that does not grow with the open descriptors.
 *
 * vfork(2) and posix_spawn(3) copy the table of descriptors, and the child closes the copies again. Here the child shares
 * the table (CLONE_FILES) until its first call, which makes a table of its own with only the descriptors up to the one
 * that the program gets (CLOSE_RANGE_UNSHARE). Before that call nothing may change a descriptor: it would be the parent's.
 *
 * The child also shares the parent's memory (CLONE_VM) and runs on a part of the parent's stack; the calling thread waits
 * until the program is executed or the child has ended. All signals are blocked from before the child exists until it has
 * reset their handlers. It uses system calls only, those on signals not through the C library, which would note the
 * child's actions as the parent's.
 *
 * The wait is not that of CLONE_VFORK, which has no end if the child is stopped: from its change of the user on, any
 * process of the new user can do that (SIGSTOP). The kernel clears a word when the child no longer uses the memory
 * (CLONE_CHILD_CLEARTID); the parent waits for that word, looks from time to time whether the child is stopped, and kills
 * it then. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The sanitizers do not follow a child that shares their memory. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CANNOT_SHARE 1
#endif
#endif

/* The set of signals of the kernel. */
typedef uint64_t signals;
enum { LAST_SIGNAL = 64, STACK_SIZE = 65536, LOOK_NANOSECONDS = 10000000 };

struct start {
  const struct kernel_spawn *setting;
  volatile int failure;
  /* Not 0 as long as the child uses this memory. */
  volatile uint32_t in_use;
};

static void set_mask(const signals *set, signals *old) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, set, old, sizeof *set);
}

/* The default action for every signal. Its form differs between machines, but it is always zero. EINVAL for SIGKILL and
 * SIGSTOP. */
static void set_default_actions(void) {
  const unsigned long action[8] = {0};
  for (int number = 1; number <= LAST_SIGNAL; number++) syscall(SYS_rt_sigaction, number, action, NULL, sizeof(signals));
}

/* True after `kernel_block_signals`. */
static bool are_signals_blocked;

void kernel_block_signals(void) {
  const signals all = ~(signals)0;
  set_mask(&all, NULL);
  set_default_actions();
  are_signals_blocked = true;
}

/* The limit as wanted, as far as this process may have it. */
static int limit_open_files(const struct rlimit *wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  if (wanted->rlim_max < limit.rlim_max) limit.rlim_max = wanted->rlim_max;
  limit.rlim_cur = wanted->rlim_cur < limit.rlim_max ? wanted->rlim_cur : limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Executes the first of the paths that is a program, as execvp(3) does. Returns the error. */
static int execute(const struct kernel_spawn *setting) {
  int failure = ENOENT;
  for (const char *const *path = setting->paths; *path; path++) {
    execve(*path, setting->arguments, setting->environment);
    switch (errno) {
      case EACCES:
        failure = EACCES;
        break;
      case ENOENT:
      case ENOTDIR:
      case ESTALE:
      case ENODEV:
      case ETIMEDOUT: break;
      default: return errno;
    }
  }
  return failure;
}

/* The steps of the child up to the program. The user is changed last but one: the limit of processes then counts the new
 * user's, and execve(2) checks it. Returns the error. */
static int child_steps(const struct kernel_spawn *setting) {
  int streams = setting->standard_streams;
  unsigned first = (streams > 2 ? (unsigned)streams : 2) + 1;
  if (close_range(first, ~0u, CLOSE_RANGE_UNSHARE) != 0) return ENOSYS;
  if (!are_signals_blocked) set_default_actions();
  const signals none = 0;
  set_mask(&none, NULL);
  if (setsid() < 0 || dup2(streams, 0) < 0 || dup2(streams, 1) < 0 || close_range(3, ~0u, 0) != 0) return errno;
  if (setting->open_files && limit_open_files(setting->open_files) != 0) return errno;
  if (setting->data && setrlimit(RLIMIT_DATA, setting->data) != 0) return errno;
  if (setting->processes && setrlimit(RLIMIT_NPROC, setting->processes) != 0) return errno;
  if (setting->changes_user && syscall(SYS_setresuid, setting->user, setting->user, setting->user) != 0) return errno;
  return execute(setting);
}

static int child(void *context) {
  struct start *start = context;
  start->failure = child_steps(start->setting);
  _exit(127);
}

/* futex(2): waits until the word is cleared, or for the time between two looks. It leaves errno as it is, which the child
 * has in the same place. On other machines it waits for a millisecond. */
static void wait_for(volatile uint32_t *word) {
  const struct timespec time = {.tv_nsec = LOOK_NANOSECONDS};
#if defined(__x86_64__)
  long result = SYS_futex;
  register long timeout __asm__("r10") = (long)&time;
  __asm__ volatile("syscall" : "+a"(result) : "D"(word), "S"((long)FUTEX_WAIT), "d"(1L), "r"(timeout) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long number __asm__("x8") = SYS_futex;
  register long result __asm__("x0") = (long)word;
  register long operation __asm__("x1") = FUTEX_WAIT;
  register long value __asm__("x2") = 1;
  register long timeout __asm__("x3") = (long)&time;
  __asm__ volatile("svc #0" : "+r"(result) : "r"(number), "r"(operation), "r"(value), "r"(timeout) : "memory");
#else
  (void)word;
  (void)time;
  /* It returns its error, and errno stays. */
  const struct timespec millisecond = {.tv_nsec = 1000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &millisecond, NULL);
#endif
}

static bool is_stopped(pid_t process) {
  siginfo_t information = {0};
  return waitid(P_PID, (id_t)process, &information, WSTOPPED | WNOHANG | WNOWAIT) == 0 && information.si_pid == process;
}

/* Waits until the child no longer uses this memory. Returns true if it was stopped before that: it is killed. */
static bool wait_for_child(struct start *start, pid_t process) {
  bool was_stopped = false;
  while (start->in_use) {
    wait_for(&start->in_use);
    if (!start->in_use || !is_stopped(process)) continue;
    was_stopped = true;
    kill(process, SIGKILL);
  }
  return was_stopped;
}

pid_t kernel_spawn(const struct kernel_spawn *setting, int *pidfd) {
#ifdef CANNOT_SHARE
  (void)setting;
  (void)pidfd;
  (void)child;
  (void)wait_for_child;
  errno = ENOSYS;
  return -1;
#else
  struct start start = {.setting = setting, .in_use = 1};
  _Alignas(16) char stack[STACK_SIZE];
  const signals all = ~(signals)0;
  signals old;
  *pidfd = -1;
  if (!are_signals_blocked) set_mask(&all, &old);
  pid_t process = clone(
    child, stack + STACK_SIZE, CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD, &start, pidfd, NULL, &start.in_use);
  int error = errno;
  if (process > 0) error = wait_for_child(&start, process) ? ECANCELED : start.failure;
  if (!are_signals_blocked) set_mask(&old, NULL);
  if (error == 0) return process;
  if (process > 0) {
    close(*pidfd);
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {}
  }
  errno = error;
  return -1;
#endif
}
