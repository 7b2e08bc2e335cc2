/*
 * CKernel: functions and constants that the Swift overlay of glibc does not export.
 *
 * Thin wrappers around calls that need _GNU_SOURCE, around macros that Swift cannot import, and around the variables
 * of getopt, which Swift 6 rejects as shared mutable state.
 *
 * Contract: a wrapper adds no policy, does not retry and does not allocate.
 * Failure: each wrapper returns what the call returns and leaves errno unchanged after the call.
 *
 * The system headers below also export: epoll_create1, epoll_ctl and epoll_wait; signalfd; getopt_long.
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
static const uint32_t KERNEL_EPOLL_EXCLUSIVE = 1u << 28 /* EPOLLEXCLUSIVE */;
static const uint32_t KERNEL_EPOLL_CHANGES = 1u << 31 /* EPOLLET */;
static const int KERNEL_SFD_CLOEXEC = SFD_CLOEXEC;
static const int KERNEL_SFD_NONBLOCK = SFD_NONBLOCK;

/* POLLRDHUP (poll.h defines it only with _GNU_SOURCE): the peer has shut down its sending half. */
static const short KERNEL_POLLRDHUP = 0x2000;

/* Socket options of ip(7) and ipv6(7): connections from an address that is not this machine's. */
static const int KERNEL_IP_TRANSPARENT = 19;
static const int KERNEL_IPV6_TRANSPARENT = 75;

/* POSIX_SPAWN_SETSID: the child becomes the leader of a new session. */
static const short KERNEL_POSIX_SPAWN_SETSID = 0x80;

/* The limit on the processes of a user, see getrlimit(2). */
static const unsigned KERNEL_RLIMIT_NPROC = RLIMIT_NPROC;

/* The capability to read every file, as a bit, see capabilities(7). */
static const uint32_t KERNEL_CAPABILITIES_TO_READ = 1u << 2 /* CAP_DAC_READ_SEARCH */;

/* -- Sockets and pipes. ---------------------------------------------------------------------------------------- */

/* accept4(2). flags: SOCK_CLOEXEC, SOCK_NONBLOCK. */
int kernel_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags);

/* pipe2(2) into `ends[0]` (reading) and `ends[1]`. flags: O_CLOEXEC, O_NONBLOCK. */
int kernel_pipe2(int *ends, int flags);

/* fcntl(F_DUPFD_CLOEXEC): a duplicate whose number is at least `least`, close-on-exec. */
int kernel_duplicate_above(int descriptor, int least);

/* flock(2), exclusive: in Swift its name is that of a structure. */
int kernel_lock(int descriptor);

/* dup3(2): makes the number `replaced`, which is closed first, a duplicate; close-on-exec. */
int kernel_duplicate_over(int descriptor, int replaced);

/* preadv2(RWF_NOWAIT) at the current file position: a read that does not wait, independent of O_NONBLOCK. EAGAIN if it
 * would wait, EOPNOTSUPP if the kernel does not support it (terminals, and pipes on old kernels). */
ssize_t kernel_read_nowait(int descriptor, void *_Nullable buffer, size_t count);

/* pwritev2(RWF_NOWAIT) at the current file position: the same for a write. */
ssize_t kernel_write_nowait(int descriptor, const void *_Nullable buffer, size_t count);

/* sendmsg(2) of one message, with a descriptor (SCM_RIGHTS) unless it is negative. flags: MSG_DONTWAIT, MSG_NOSIGNAL. */
ssize_t kernel_send_message(int socket, const void *octets, size_t count, int descriptor, int flags);

/* recvmsg(2) of one message; *descriptor is a received descriptor, close-on-exec, or -1. EMSGSIZE if the message is
 * larger than the buffer, or has more than one descriptor; its descriptors are closed then. If this process has no number
 * left for a descriptor, the message comes without it. */
ssize_t kernel_receive_message(int socket, void *buffer, size_t count, int *descriptor, int flags);

/* socketpair(2): connected Unix sockets that keep message boundaries (SOCK_SEQPACKET), close-on-exec. */
int kernel_message_sockets(int *ends);

/* memfd_create(2): a file in memory, close-on-exec, without a size limit of its own. */
int kernel_memory_file(const char *name);

/* Adds all seals: nobody can change the file in memory any more, see fcntl(2). */
int kernel_seal(int descriptor);

/* Gives the Unix socket at `path` to another user. EINVAL unless it is a socket of this process's effective user with one name: its
 * folder may belong to somebody who has put a link in its place. */
int kernel_give_socket(const char *path, uid_t user, gid_t group);

/* close_range(2): closes `first` to `last`, both included. flags: 0. */
int kernel_close_range(unsigned first, unsigned last, int flags);

/* -- Processes. ------------------------------------------------------------------------------------------------- */

/* Creates a process that is not a child of this process. Returns 0 in the new process, 1 in this process, and -1 with
 * errno on failure. An intermediate child (vfork(2)) creates it; that child has ended and is reaped when this function
 * returns. Only for a process with one thread and without signal handlers. */
int kernel_fork_detached(void);

/* fork(2). */
pid_t kernel_fork(void);

/* prctl(PR_SET_NO_NEW_PRIVS): execve(2) no longer gives privileges, neither to this process nor to its descendants. */
int kernel_set_no_new_privileges(void);

/* prctl(PR_SET_DUMPABLE, 0): no core dump; only privileged processes can trace this process or read its memory. */
int kernel_set_undumpable(void);

/* sched_getaffinity(2): the number of processors that this process may run on; -1 with errno on failure. */
int kernel_processors(void);

/* prctl(PR_SET_NAME): the name that ps(1) shows, at most 15 octets. */
int kernel_set_process_name(const char *name);

/* capset(2): reduces the capabilities of this process to `capabilities` (of numbers 0 to 31), as far as it has them. */
int kernel_keep_capabilities(uint32_t capabilities);

/* From now on this process can move octets through the descriptors that it has, receive more of them, allocate memory,
 * read the clock, get random numbers, and end; every other system call ends it (seccomp(2)). Returns 1 if that is so, 0 if
 * the kernel cannot do it, or if it is not known how on this machine, and -1 with errno on failure. */
int kernel_confine_to_signing(void);

/* Leaves only the system calls that starttlsd makes while it serves; any other fails with EPERM. Sets no_new_privs. Returns 1; 0 if the
 * kernel has no filters; -1 with errno. */
int kernel_confine_to_serving(void);

/* The same for the process that connects to servers and passes the sockets. */
int kernel_confine_to_connecting(void);

/* What `kernel_leave_file_system` leaves. */
struct kernel_landlock {
  /* Folders in which files may be removed. */
  const char *_Nonnull const *_Nullable folders;
  size_t folders_count;
  /* TCP ports to connect to. */
  const uint16_t *_Nullable ports;
  size_t ports_count;
  /* Whether a socket may be bound to port 0. */
  bool binds;
};

/* The version of Landlock; 0 if the kernel has none. */
int kernel_landlock_version(void);

/* Takes all files from this process but /dev/null and what is open, and, as far as the kernel can, TCP, signals to other
 * processes and abstract Unix sockets of others. Sets no_new_privs. Returns the version of Landlock, 0 if the kernel has none, -1 with errno. */
int kernel_leave_file_system(const struct kernel_landlock *setting);

/* What `kernel_spawn` does in the child, besides the default action for all signals, none of which is blocked, and a
 * new session. */
struct kernel_spawn {
  /* The paths to try in turn, terminated by NULL. */
  const char *_Nullable const *_Nonnull paths;
  char *_Nullable const *_Nonnull arguments;
  char *_Nullable const *_Nonnull environment;
  /* Becomes descriptors 0 and 1. 2 is inherited; all others are closed. The cost of a start grows with this number. */
  int standard_streams;
  /* If true, the child changes its real, effective and saved user to `user`. */
  bool changes_user;
  uid_t user;
  /* Limits to set, each only if not NULL. That of open files is set as far as the hard limit allows. */
  const struct rlimit *_Nullable open_files;
  const struct rlimit *_Nullable data;
  const struct rlimit *_Nullable processes;
};

/* Executes a program in a new child, and stores a descriptor for it as that of `kernel_pidfd_open`. Returns -1 with the
 * errno of the step that failed; no child is left then. ECANCELED: the child was stopped by a signal before it executed the
 * program. ENOSYS means that the kernel, or a filter, refuses this way to start one: posix_spawn(3) may still do, but can
 * neither change the user nor set limits. */
pid_t kernel_spawn(const struct kernel_spawn *setting, int *pidfd);

/* Blocks all signals of the calling thread for good, and gives each its default action: otherwise `kernel_spawn` does that at each start.
 * For a process with one thread that starts programs, and that changes no action afterwards. They begin with no signal blocked. */
void kernel_block_signals(void);

/* pidfd_open(2): a descriptor, close-on-exec. poll reports it readable once the process has ended. */
int kernel_pidfd_open(pid_t process);

/* pidfd_send_signal(2): never reaches another process that reuses the same number. */
int kernel_pidfd_send_signal(int pidfd, int signal);

/* waitid(P_PIDFD, WEXITED | WNOHANG): 1 if the process was reaped, 0 if it still runs, -1 with errno.
 * *killed is true if a signal ended it; *value is then that signal, otherwise the exit code. */
int kernel_pidfd_reap(int pidfd, bool *killed, int *value);

/* The same with WNOWAIT: the process is not reaped, so its number and its group's stay reserved. */
int kernel_pidfd_look(int pidfd, bool *killed, int *value);

/* posix_spawn_file_actions_addclosefrom_np(3): closes every descriptor from `first` on in the child. */
int kernel_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

/* The macros of wait(2). */
bool kernel_WIFEXITED(int status);
int kernel_WEXITSTATUS(int status);
bool kernel_WIFSIGNALED(int status);
int kernel_WTERMSIG(int status);
bool kernel_WIFSTOPPED(int status);

/* setresuid(2), setresgid(2) and setgroups(2). Drop the supplementary groups first and the user last. */
int kernel_setresuid(uid_t real, uid_t effective, uid_t saved);
int kernel_setresgid(gid_t real, gid_t effective, gid_t saved);
int kernel_setgroups(size_t count, const gid_t *_Nullable groups);

/* -- getopt(3). ------------------------------------------------------------------------------------------------- */

/* getopt_long(3). Start the short options with '+' for POSIX order: options end at the first operand. */
int kernel_getopt_long(
  int count, char *_Nullable const *_Nonnull arguments, const char *short_options,
  const struct option *_Nullable long_options, int *_Nullable index);

/* The variables of getopt(3): the index of the next argument, the value of the option, the invalid option. */
int kernel_optind(void);
void kernel_set_optind(int index);
const char *_Nullable kernel_optarg(void);
void kernel_set_opterr(int on);

/* Flushes standard output of stdio(3); false if that, or an earlier write to it, failed. */
bool kernel_flush_output(void);

/* -- Fault injection for tests. ------------------------------------------------------------------------------- */

/* An object of a test that replaces the results of this thread's system calls, see Kernel.swift; NULL in production.
 * Each thread has its own. Use the functions: Swift cannot import a thread-local variable. */
extern _Thread_local void *_Nullable kernel_fault_object __attribute__((tls_model("initial-exec")));

static inline void *_Nullable kernel_fault(void) { return kernel_fault_object; }
static inline void kernel_set_fault(void *_Nullable object) { kernel_fault_object = object; }

#pragma clang assume_nonnull end

#endif
