/* CKernel: the wrappers of CKernel.h. Only this file defines _GNU_SOURCE. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

int kernel_lock(int descriptor) {
  return flock(descriptor, LOCK_EX);
}

int kernel_duplicate_over(int descriptor, int replaced) {
  return dup3(descriptor, replaced, O_CLOEXEC);
}

ssize_t kernel_read_nowait(int descriptor, void *buffer, size_t count) {
  struct iovec vector = {.iov_base = buffer, .iov_len = count};
  return preadv2(descriptor, &vector, 1, -1, RWF_NOWAIT);
}

ssize_t kernel_write_nowait(int descriptor, const void *buffer, size_t count) {
  struct iovec vector = {.iov_base = (void *)buffer, .iov_len = count};
  return pwritev2(descriptor, &vector, 1, -1, RWF_NOWAIT);
}

ssize_t kernel_send_message(int socket, const void *octets, size_t count, int descriptor, int flags) {
  struct iovec vector = {.iov_base = (void *)octets, .iov_len = count};
  union {
    struct cmsghdr header;
    char octets[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  return sendmsg(socket, &message, flags);
}

ssize_t kernel_receive_message(int socket, void *buffer, size_t count, int *descriptor, int flags) {
  struct iovec vector = {.iov_base = buffer, .iov_len = count};
  union {
    struct cmsghdr header;
    char octets[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {
    .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
  *descriptor = -1;
  ssize_t moved = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (moved < 0) return -1;
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
      rights->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(descriptor, CMSG_DATA(rights), sizeof *descriptor);
  /* MSG_CTRUNC without a descriptor: this process has no number left for it. */
  if (message.msg_flags & MSG_TRUNC || (message.msg_flags & MSG_CTRUNC && *descriptor >= 0)) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
    errno = EMSGSIZE;
    return -1;
  }
  return moved;
}

int kernel_message_sockets(int *ends) {
  return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

int kernel_memory_file(const char *name) {
  return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

int kernel_seal(int descriptor) {
  return fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
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

pid_t kernel_fork(void) {
  return fork();
}

int kernel_set_no_new_privileges(void) {
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int kernel_set_undumpable(void) {
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int kernel_processors(void) {
  /* The kernel refuses a set that is smaller than its own. */
  unsigned long set[1024];
  int size = (int)syscall(SYS_sched_getaffinity, 0, sizeof set, set);
  if (size < 0) return -1;
  int count = 0;
  for (size_t index = 0; index < (size_t)size / sizeof set[0]; index++) count += __builtin_popcountl(set[index]);
  return count;
}

int kernel_set_process_name(const char *name) {
  return prctl(PR_SET_NAME, name, 0, 0, 0);
}

int kernel_keep_capabilities(uint32_t capabilities) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
  if (syscall(SYS_capget, &header, data) != 0) return -1;
  for (int index = 0; index < _LINUX_CAPABILITY_U32S_3; index++) {
    uint32_t kept = data[index].permitted & (index == 0 ? capabilities : 0);
    data[index] = (struct __user_cap_data_struct){.effective = kept, .permitted = kept};
  }
  return (int)syscall(SYS_capset, &header, data);
}

int kernel_pidfd_open(pid_t process) {
  return (int)syscall(SYS_pidfd_open, process, 0);
}

int kernel_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

static int look(int pidfd, bool *killed, int *value, int flags) {
  siginfo_t information = {0};
  if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &information, WEXITED | WNOHANG | flags) != 0) return -1;
  if (information.si_pid == 0) return 0;
  *killed = information.si_code != CLD_EXITED;
  *value = information.si_status;
  return 1;
}

int kernel_pidfd_reap(int pidfd, bool *killed, int *value) {
  return look(pidfd, killed, value, 0);
}

int kernel_pidfd_look(int pidfd, bool *killed, int *value) {
  return look(pidfd, killed, value, WNOWAIT);
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

bool kernel_flush_output(void) { return fflush(stdout) == 0 && !ferror(stdout); }

/* Fault injection for tests. */

_Thread_local void *kernel_fault_object;

int kernel_give_socket(const char *path, uid_t user, gid_t group) {
  int descriptor = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0) return -1;
  struct stat status;
  int result = fstat(descriptor, &status);
  if (result == 0 && !(S_ISSOCK(status.st_mode) && status.st_uid == geteuid() && status.st_nlink == 1)) {
    errno = EINVAL;
    result = -1;
  }
  if (result == 0) result = fchownat(descriptor, "", user, group, AT_EMPTY_PATH);
  int error = errno;
  close(descriptor);
  errno = error;
  return result;
}
