/*
 * CKernel: what the Swift overlay of glibc hides.
 *
 * Thin wrappers around calls that need _GNU_SOURCE, around macros that Swift cannot see, and around the variables
 * of getopt, which Swift 6 refuses as shared mutable state. No wrapper adds a policy of its own, retries or
 * allocates; each returns what the call returns and leaves errno as the call left it.
 *
 * The system's headers below come along with their own names: epoll_create1, epoll_ctl and epoll_wait; signalfd and
 * timerfd_create; eventfd; getopt_long.
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
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <time.h>

#pragma clang assume_nonnull begin

/* -- Constants that are enumerations or hidden in glibc's headers, as plain integers. ------------------------- */

static const uint32_t KERNEL_EPOLLIN = EPOLLIN;
static const uint32_t KERNEL_EPOLLOUT = EPOLLOUT;
static const uint32_t KERNEL_EPOLLRDHUP = EPOLLRDHUP;
static const uint32_t KERNEL_EPOLLHUP = EPOLLHUP;
static const uint32_t KERNEL_EPOLLERR = EPOLLERR;
static const uint32_t KERNEL_EPOLLEXCLUSIVE = EPOLLEXCLUSIVE;

static const int KERNEL_EPOLL_CLOEXEC = EPOLL_CLOEXEC;
static const int KERNEL_SFD_CLOEXEC = SFD_CLOEXEC;
static const int KERNEL_SFD_NONBLOCK = SFD_NONBLOCK;
static const int KERNEL_TFD_CLOEXEC = TFD_CLOEXEC;
static const int KERNEL_TFD_NONBLOCK = TFD_NONBLOCK;
static const int KERNEL_EFD_CLOEXEC = EFD_CLOEXEC;
static const int KERNEL_EFD_NONBLOCK = EFD_NONBLOCK;

/* POLLRDHUP (poll.h shows it under _GNU_SOURCE only): the peer has shut down its writing half. */
static const short KERNEL_POLLRDHUP = 0x2000;

/* POSIX_SPAWN_SETSID: the child leads a session of its own. */
static const short KERNEL_POSIX_SPAWN_SETSID = 0x80;

/* The limit of the processes of a user, see getrlimit(2). */
static const unsigned KERNEL_RLIMIT_NPROC = RLIMIT_NPROC;

/* The flags of splice(2). */
static const unsigned KERNEL_SPLICE_F_MOVE = 1;
static const unsigned KERNEL_SPLICE_F_NONBLOCK = 2;

/* -- Sockets and pipes. ---------------------------------------------------------------------------------------- */

/* accept4(2). flags: SOCK_CLOEXEC, SOCK_NONBLOCK. */
int kernel_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags);

/* pipe2(2) into `ends[0]` (reading) and `ends[1]`. flags: O_CLOEXEC, O_NONBLOCK. */
int kernel_pipe2(int *ends, int flags);

/* dup3(2). flags: O_CLOEXEC. */
int kernel_dup3(int descriptor, int target, int flags);

/* fcntl(F_DUPFD_CLOEXEC): a duplicate not below `least`, close-on-exec. */
int kernel_duplicate_above(int descriptor, int least);

/* preadv2(RWF_NOWAIT) at the file's own position: a read that does not wait whatever O_NONBLOCK says. EAGAIN when it
 * would wait, EOPNOTSUPP where the kernel cannot do that (terminals, and pipes on old kernels). */
ssize_t kernel_read_nowait(int descriptor, void *_Nullable buffer, size_t count);

/* pwritev2(RWF_NOWAIT) at the file's own position: the same for a write. */
ssize_t kernel_write_nowait(int descriptor, const void *_Nullable buffer, size_t count);

/* splice(2) without offsets. */
ssize_t kernel_splice(int from, int to, size_t count, unsigned flags);

/* ppoll(2). mask may be NULL; timeout NULL waits for ever. */
int kernel_ppoll(
  struct pollfd *_Nullable descriptors, nfds_t count, const struct timespec *_Nullable timeout,
  const sigset_t *_Nullable mask);

/* close_range(2): closes `first` to `last`, both included. flags: 0 or KERNEL_CLOSE_RANGE_CLOEXEC. */
int kernel_close_range(unsigned first, unsigned last, int flags);
static const int KERNEL_CLOSE_RANGE_CLOEXEC = 4;

/* getrandom(2) with no flags. */
ssize_t kernel_getrandom(void *buffer, size_t count);

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

/* prctl(PR_SET_PDEATHSIG): the signal to get when the parent ends. Set it, then compare getppid(). */
int kernel_set_parent_death_signal(int signal);

/* prctl(PR_SET_NO_NEW_PRIVS): no exec from here on grants privileges. */
int kernel_set_no_new_privileges(void);

/* prctl(PR_SET_DUMPABLE, 0): no core dump, no ptrace by the same user. */
int kernel_set_undumpable(void);

/* -- getopt(3). ------------------------------------------------------------------------------------------------- */

/* getopt_long(3). Begin the short options with '+' for POSIX order (options end at the first operand). */
int kernel_getopt_long(
  int count, char *_Nullable const *_Nonnull arguments, const char *short_options,
  const struct option *_Nullable long_options, int *_Nullable index);

/* The variables of getopt(3): the next argument's index, the option's value, the offending option. */
int kernel_optind(void);
void kernel_set_optind(int index);
const char *_Nullable kernel_optarg(void);
int kernel_optopt(void);

/* opterr: whether getopt prints its own messages. */
int kernel_opterr(void);
void kernel_set_opterr(int on);

/* -- What tests want. --------------------------------------------------------------------------------------- */

/* An object of the test's that answers this thread's calls in the kernel's place, see Kernel.swift; NULL in production.
 * Each thread has its own, so none is shared. Use the functions: Swift knows no variable of a thread. */
extern _Thread_local void *_Nullable kernel_fault_object __attribute__((tls_model("initial-exec")));

static inline void *_Nullable kernel_fault(void) { return kernel_fault_object; }
static inline void kernel_set_fault(void *_Nullable object) { kernel_fault_object = object; }

#pragma clang assume_nonnull end

#endif
