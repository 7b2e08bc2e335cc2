/*
 * CKernel: what the Swift overlay of glibc hides.
 *
 * Thin wrappers around calls that need _GNU_SOURCE, around macros that Swift cannot see, and around the variables
 * of getopt, which Swift 6 refuses as shared mutable state. No wrapper adds a policy of its own, retries or
 * allocates; each returns what the call returns and leaves errno as the call left it.
 *
 * The system's headers below come along with their own names: epoll_create1, epoll_ctl and epoll_wait; signalfd; getopt_long.
 */

#ifndef CKERNEL_H
#define CKERNEL_H

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#pragma clang assume_nonnull begin

/* -- Constants that are enumerations or hidden in glibc's headers, as plain integers. ------------------------- */

static const int KERNEL_EPOLL_CLOEXEC = EPOLL_CLOEXEC;
static const int KERNEL_SFD_CLOEXEC = SFD_CLOEXEC;
static const int KERNEL_SFD_NONBLOCK = SFD_NONBLOCK;

/* POLLRDHUP (poll.h shows it under _GNU_SOURCE only): the peer has shut down its writing half. */
static const short KERNEL_POLLRDHUP = 0x2000;

/* POSIX_SPAWN_SETSID: the child leads a session of its own. */
static const short KERNEL_POSIX_SPAWN_SETSID = 0x80;

/* The limit of the processes of a user, see getrlimit(2). */
static const unsigned KERNEL_RLIMIT_NPROC = RLIMIT_NPROC;

/* -- Sockets and pipes. ---------------------------------------------------------------------------------------- */

/* accept4(2). flags: SOCK_CLOEXEC, SOCK_NONBLOCK. */
int kernel_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags);

/* pipe2(2) into `ends[0]` (reading) and `ends[1]`. flags: O_CLOEXEC, O_NONBLOCK. */
int kernel_pipe2(int *ends, int flags);

/* fcntl(F_DUPFD_CLOEXEC): a duplicate not below `least`, close-on-exec. */
int kernel_duplicate_above(int descriptor, int least);

/* preadv2(RWF_NOWAIT) at the file's own position: a read that does not wait whatever O_NONBLOCK says. EAGAIN when it
 * would wait, EOPNOTSUPP where the kernel cannot do that (terminals, and pipes on old kernels). */
ssize_t kernel_read_nowait(int descriptor, void *_Nullable buffer, size_t count);

/* pwritev2(RWF_NOWAIT) at the file's own position: the same for a write. */
ssize_t kernel_write_nowait(int descriptor, const void *_Nullable buffer, size_t count);

/* close_range(2): closes `first` to `last`, both included. flags: 0. */
int kernel_close_range(unsigned first, unsigned last, int flags);

/* -- Processes. ------------------------------------------------------------------------------------------------- */

/* Makes a process that is nobody's child: 0 in it, 1 in this one, -1 with errno when there is none. It is made by a
 * child (vfork(2)) that has ended and been reaped when this returns. Only for a process of one thread, without handlers
 * for signals. */
int kernel_fork_detached(void);

/* pidfd_open(2): a descriptor, close-on-exec, that polls readable once the process has ended. */
int kernel_pidfd_open(pid_t process);

/* pidfd_send_signal(2): never reaches another process that got the same number. */
int kernel_pidfd_send_signal(int pidfd, int signal);

/* waitid(P_PIDFD, WEXITED | WNOHANG): 1 when the process was reaped, 0 when it still runs, -1 with errno.
 * *killed says whether a signal ended it, *value is then that signal, otherwise the exit code. */
int kernel_pidfd_reap(int pidfd, bool *killed, int *value);

/* posix_spawn_file_actions_addclosefrom_np(3): in the child, close every descriptor from `first` on. */
int kernel_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

/* The macros of wait(2). */
bool kernel_WIFEXITED(int status);
int kernel_WEXITSTATUS(int status);
bool kernel_WIFSIGNALED(int status);
int kernel_WTERMSIG(int status);
bool kernel_WIFSTOPPED(int status);

/* setresuid(2), setresgid(2) and setgroups(2). Drop groups first, the user last. */
int kernel_setresuid(uid_t real, uid_t effective, uid_t saved);
int kernel_setresgid(gid_t real, gid_t effective, gid_t saved);
int kernel_setgroups(size_t count, const gid_t *_Nullable groups);

/* -- getopt(3). ------------------------------------------------------------------------------------------------- */

/* getopt_long(3). Begin the short options with '+' for POSIX order (options end at the first operand). */
int kernel_getopt_long(
  int count, char *_Nullable const *_Nonnull arguments, const char *short_options,
  const struct option *_Nullable long_options, int *_Nullable index);

/* The variables of getopt(3): the next argument's index, the option's value, the offending option. */
int kernel_optind(void);
void kernel_set_optind(int index);
const char *_Nullable kernel_optarg(void);
void kernel_set_opterr(int on);

/* -- What tests want. --------------------------------------------------------------------------------------- */

/* An object of the test's that answers this thread's calls in the kernel's place, see Kernel.swift; NULL in production.
 * Each thread has its own, so none is shared. Use the functions: Swift knows no variable of a thread. */
extern _Thread_local void *_Nullable kernel_fault_object __attribute__((tls_model("initial-exec")));

static inline void *_Nullable kernel_fault(void) { return kernel_fault_object; }
static inline void kernel_set_fault(void *_Nullable object) { kernel_fault_object = object; }

#pragma clang assume_nonnull end

#endif
