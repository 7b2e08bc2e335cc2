/* SystemCallFilter: the system calls that processes of starttlsd may make, see seccomp(2).
 *
 * The process of the private keys: any call that is not listed ends it (SIGSYS). Not among them: open, socket, execve, fork,
 * kill, ptrace. The process that serves: any other call fails with EPERM, so that a call that a new C library makes ends no
 * session. Not among them: execve, fork, ptrace, kill, socket, connect, bind: it has the sockets that it was given or that arrive. It may
 * signal itself only, may set only those options of a socket that it needs, and may change no status flags: it could make the listening
 * socket, which it shares, useless to all. The process that connects to servers: it makes TCP and Unix sockets, connects them and passes
 * them on; any other call fails, too. In all, memory can be allocated, but none that can be executed. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#endif

#ifdef ARCHITECTURE

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
/* Runs the next instruction if the loaded word is `value`, else skips `count`. */
#define UNLESS_EQUAL(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count)
#define ALLOW(call) UNLESS_EQUAL(SYS_##call, 1), RETURN(SECCOMP_RET_ALLOW)
/* A call that only older machines have. */
#ifdef SYS_open
#define ALLOW_OLD(call) ALLOW(call),
#else
#define ALLOW_OLD(call)
#endif
/* The low word of the third argument: these machines are little-endian. */
#define ALLOW_WITHOUT_EXECUTION(call, action)                                                           \
  UNLESS_EQUAL(SYS_##call, 4), LOAD(args[2]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1), \
    RETURN(action), RETURN(SECCOMP_RET_ALLOW)

static struct sock_filter instructions[] = {
  LOAD(arch),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
  RETURN(SECCOMP_RET_KILL_PROCESS),
  LOAD(nr),
  /* The two connections, and the key files that arrive as descriptors. */
  ALLOW(recvmsg),
  ALLOW(sendmsg),
#ifdef SYS_poll
  ALLOW(poll),
#endif
  ALLOW(ppoll),
  ALLOW(read),
  ALLOW(write),
  ALLOW(close),
  /* Random numbers of GnuTLS, which also looks whether it was forked. */
  ALLOW(getrandom),
  ALLOW(getpid),
  /* Time, on machines where it is no function in user space. */
  ALLOW(clock_gettime),
  ALLOW(gettimeofday),
#ifdef SYS_time
  ALLOW(time),
#endif
  ALLOW(getrusage),
  /* Memory. */
  ALLOW(brk),
  ALLOW(munmap),
  ALLOW(mremap),
  ALLOW(madvise),
  ALLOW(futex),
  ALLOW_WITHOUT_EXECUTION(mmap, SECCOMP_RET_KILL_PROCESS),
  ALLOW_WITHOUT_EXECUTION(mprotect, SECCOMP_RET_KILL_PROCESS),
  /* After SIGSTOP and SIGCONT. */
  ALLOW(restart_syscall),
  ALLOW(exit),
  ALLOW(exit_group),
  RETURN(SECCOMP_RET_KILL_PROCESS),
};

#define FAIL (SECCOMP_RET_ERRNO | EPERM)
#define REFUSE RETURN(FAIL)
/* A Unix socket. The low word of the first argument is loaded. */
#define ALLOW_UNIX UNLESS_EQUAL(AF_UNIX, 1), RETURN(SECCOMP_RET_ALLOW)
/* A TCP socket: not MPTCP, UDP or a raw one, of which Landlock knows nothing. */
#define ALLOW_TCP                                                                                                     \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 6), LOAD(args[1]), \
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xF), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 0, 3), LOAD(args[2]),   \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RETURN(SECCOMP_RET_ALLOW)
/* A send that does not connect as well (MSG_FASTOPEN), of which Landlock knows nothing either. */
#define ALLOW_WITHOUT_CONNECTING(call, flags)                                                                         \
  UNLESS_EQUAL(SYS_##call, 4), LOAD(args[flags]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x20000000, 0, 1), RETURN(FAIL), \
    RETURN(SECCOMP_RET_ALLOW)

/* The level of an option of a socket is loaded. The option may be set. */
#define OPTION(level, name)                                                                                           \
  UNLESS_EQUAL(level, 4), LOAD(args[2]), UNLESS_EQUAL(name, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(FAIL)
#define ALLOW_OPTIONS                                                                                                 \
  UNLESS_EQUAL(SYS_setsockopt, 8), LOAD(args[1]), UNLESS_EQUAL(IPPROTO_TCP, 5), LOAD(args[2]),                         \
    UNLESS_EQUAL(TCP_NODELAY, 1), RETURN(SECCOMP_RET_ALLOW), UNLESS_EQUAL(TCP_QUICKACK, 1), RETURN(SECCOMP_RET_ALLOW), \
    RETURN(FAIL)
#define ALLOW_OPTIONS_OF_CONNECTIONS                                                                                  \
  UNLESS_EQUAL(SYS_setsockopt, 17), LOAD(args[1]), OPTION(IPPROTO_TCP, TCP_NODELAY), OPTION(IPPROTO_IP, IP_TRANSPARENT), \
    OPTION(IPPROTO_IPV6, IPV6_TRANSPARENT), RETURN(FAIL)
/* Two connected sockets. Not of datagrams: those could be sent to any Unix socket. */
#define ALLOW_STREAM_PAIR                                                                                             \
  UNLESS_EQUAL(SYS_socketpair, 7), LOAD(args[0]), UNLESS_EQUAL(AF_UNIX, 4), LOAD(args[1]),                             \
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xF), UNLESS_EQUAL(SOCK_STREAM, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(FAIL)
/* Only what concerns the number. The owner of a descriptor gets signals, and may be any process of the same user. The status flags
 * belong to all that have the description: the listening socket of all workers would wait in accept(2), and lines of a log that is a
 * file would not be appended any more. */
#define ALLOW_CONTROL                                                                                                 \
  UNLESS_EQUAL(SYS_fcntl, 10), LOAD(args[1]), UNLESS_EQUAL(F_DUPFD_CLOEXEC, 1), RETURN(SECCOMP_RET_ALLOW),             \
    UNLESS_EQUAL(F_GETFD, 1), RETURN(SECCOMP_RET_ALLOW), UNLESS_EQUAL(F_SETFD, 1), RETURN(SECCOMP_RET_ALLOW),          \
    UNLESS_EQUAL(F_GETFL, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(FAIL)
/* Not with RWF_NOAPPEND, which writes over earlier lines of a log. */
#define ALLOW_WRITE_WITHOUT_WAITING                                                                                   \
  UNLESS_EQUAL(SYS_pwritev2, 4), LOAD(args[5]), UNLESS_EQUAL(RWF_NOWAIT, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(FAIL)
/* Stands for the number of this process, see `confine`. */
#define OWN_PROCESS 0xFFFFFFFFu
/* A signal to a thread of this process. abort(3) sends it. */
#define ALLOW_OWN_SIGNAL                                                                                              \
  UNLESS_EQUAL(SYS_tgkill, 4), LOAD(args[0]), UNLESS_EQUAL(OWN_PROCESS, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(FAIL)

#define BEGIN LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS), LOAD(nr)
/* What both of the next two need: events, time, random numbers, memory, and the end, also that of a fatal error. */
#define ALLOW_COMMON                                                                                                  \
  ALLOW_OLD(poll) ALLOW(ppoll), ALLOW(restart_syscall), ALLOW(rt_sigreturn), ALLOW(rt_sigprocmask), ALLOW(rt_sigaction), \
    ALLOW(clock_gettime), ALLOW(gettimeofday), ALLOW_OLD(time) ALLOW(getrandom), ALLOW(getpid), ALLOW(getrusage),      \
    ALLOW(sysinfo), ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW(futex),                            \
    ALLOW_WITHOUT_EXECUTION(mmap, FAIL), ALLOW_WITHOUT_EXECUTION(mprotect, FAIL), ALLOW(exit), ALLOW(exit_group),      \
    ALLOW(gettid), ALLOW_OWN_SIGNAL

static struct sock_filter serving[] = {
  BEGIN,
  /* Octets. */
  ALLOW(recvfrom),
  ALLOW_WITHOUT_CONNECTING(sendto, 3),
  ALLOW(recvmsg),
  ALLOW_WITHOUT_CONNECTING(sendmsg, 2),
  ALLOW(read),
  ALLOW(write),
  ALLOW(preadv2),
  ALLOW_WRITE_WITHOUT_WAITING,
  ALLOW(readv),
  ALLOW(writev),
  ALLOW(lseek),
  ALLOW(close),
  ALLOW(shutdown),
  /* Events. */
  ALLOW_OLD(epoll_wait) ALLOW(epoll_pwait),
  ALLOW(epoll_ctl),
  ALLOW(epoll_create1),
  /* Connections. */
  ALLOW(accept4),
  ALLOW(getsockname),
  ALLOW(getpeername),
  ALLOW_OPTIONS,
  ALLOW(getsockopt),
  ALLOW_STREAM_PAIR,
  ALLOW_CONTROL,
  ALLOW(dup),
  ALLOW(fstat),
  ALLOW(newfstatat),
  /* /dev/null, and the removal of our own sockets: Landlock knows where. */
  ALLOW(openat),
  ALLOW_OLD(unlink) ALLOW(unlinkat),
  ALLOW_OLD(open)
  /* Forked processes that end. */
  ALLOW(waitid),
  ALLOW(wait4),
  ALLOW_COMMON,
  REFUSE,
};

static struct sock_filter connecting[] = {
  BEGIN,
  ALLOW_COMMON,
  /* The connection to starttlsd. */
  ALLOW(recvmsg),
  ALLOW_WITHOUT_CONNECTING(sendmsg, 2),
  ALLOW(close),
  ALLOW_OPTIONS_OF_CONNECTIONS,
  ALLOW(bind),
  ALLOW(connect),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
  REFUSE,
  LOAD(args[0]),
  ALLOW_UNIX,
  ALLOW_TCP,
  REFUSE,
};

/* Returns 1; 0 if the kernel has no filters; -1 with errno. */
static int confine(struct sock_filter *filter, size_t size) {
  struct sock_fprog program = {.len = (unsigned short)(size / sizeof *filter), .filter = filter};
  for (size_t index = 0; index < program.len; index++)
    if (filter[index].code == (BPF_JMP | BPF_JEQ | BPF_K) && filter[index].k == OWN_PROCESS) filter[index].k = (unsigned)getpid();
  if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL) return 0;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0) return 1;
  /* A kernel with seccomp but without filters. */
  return errno == EINVAL ? 0 : -1;
}

int kernel_confine_to_signing(void) { return confine(instructions, sizeof instructions); }

int kernel_confine_to_serving(void) { return confine(serving, sizeof serving); }

int kernel_confine_to_connecting(void) { return confine(connecting, sizeof connecting); }

#else

int kernel_confine_to_signing(void) { return 0; }

int kernel_confine_to_serving(void) { return 0; }

int kernel_confine_to_connecting(void) { return 0; }

#endif
