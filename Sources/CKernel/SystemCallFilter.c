/* SystemCallFilter: the system calls that the process of the private keys may make, see seccomp(2).
 *
 * Any other call ends the process (SIGSYS). Not among them: open, socket, execve, fork, kill, ptrace. Memory can be
 * allocated, but none that can be executed. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

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
/* The low word of the third argument: these machines are little-endian. */
#define ALLOW_WITHOUT_EXECUTION(call)                                                           \
  UNLESS_EQUAL(SYS_##call, 4), LOAD(args[2]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1), \
    RETURN(SECCOMP_RET_KILL_PROCESS), RETURN(SECCOMP_RET_ALLOW)

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
  ALLOW_WITHOUT_EXECUTION(mmap),
  ALLOW_WITHOUT_EXECUTION(mprotect),
  /* After SIGSTOP and SIGCONT. */
  ALLOW(restart_syscall),
  ALLOW(exit),
  ALLOW(exit_group),
  RETURN(SECCOMP_RET_KILL_PROCESS),
};

int kernel_confine_to_signing(void) {
  struct sock_fprog program = {.len = sizeof instructions / sizeof *instructions, .filter = instructions};
  if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL) return 0;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0) return 1;
  /* A kernel with seccomp but without filters. */
  return errno == EINVAL ? 0 : -1;
}

#else

int kernel_confine_to_signing(void) {
  return 0;
}

#endif
