/* Landlock: takes the file system and the network away from this process, see landlock(7). What is open stays open.
 *
 * The structures and constants are here, because the headers of Debian 12 know only the first of them. */

#define _GNU_SOURCE

#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

struct ruleset {
  uint64_t file_system; /* from version 1 on */
  uint64_t network;     /* from version 4 on */
  uint64_t scoped;      /* from version 6 on */
};

struct path_rule {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

struct port_rule {
  uint64_t allowed;
  uint64_t port;
};

enum {
  GET_VERSION = 1,
  PATH_RULE = 1,
  PORT_RULE = 2,
  READ_FILE = 1 << 2,
  REMOVE_FILE = 1 << 5,
  BIND_TCP = 1 << 0,
  CONNECT_TCP = 1 << 1,
  /* Abstract Unix sockets of processes outside, and signals to them. A socket that is connected to one stays so: that of a service
   * manager may be abstract. */
  SCOPED = 1 << 0 | 1 << 1,
};

/* Every access to files that a version knows. */
static uint64_t file_accesses(int version) {
  int count = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
  return (UINT64_C(1) << count) - 1;
}

int kernel_landlock_version(void) {
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
  return version < 0 ? 0 : (int)version;
}

static int allow_path(int ruleset, const char *path, uint64_t allowed) {
  int parent = open(path, O_PATH | O_CLOEXEC);
  /* What this process cannot reach needs no rule. */
  if (parent < 0) return errno == EACCES ? 0 : -1;
  struct path_rule rule = {.allowed = allowed, .parent = parent};
  int result = (int)syscall(SYS_landlock_add_rule, ruleset, PATH_RULE, &rule, 0);
  int error = errno;
  close(parent);
  errno = error;
  return result;
}

int kernel_leave_file_system(const struct kernel_landlock *setting) {
  int version = kernel_landlock_version();
  if (version == 0) return 0;
  struct ruleset attributes = {
    .file_system = file_accesses(version),
    .network = version >= 4 ? BIND_TCP | CONNECT_TCP : 0,
    .scoped = version >= 6 ? SCOPED : 0,
  };
  size_t size = version >= 6 ? sizeof attributes : version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, network);
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
  if (ruleset < 0) return -1;
  int result = allow_path(ruleset, "/dev/null", READ_FILE);
  for (size_t index = 0; result == 0 && index < setting->folders_count; index++)
    result = allow_path(ruleset, setting->folders[index], REMOVE_FILE);
  for (size_t index = 0; result == 0 && version >= 4 && index < setting->ports_count; index++) {
    struct port_rule rule = {.allowed = CONNECT_TCP, .port = setting->ports[index]};
    result = (int)syscall(SYS_landlock_add_rule, ruleset, PORT_RULE, &rule, 0);
  }
  if (result == 0 && version >= 4 && setting->binds) {
    struct port_rule rule = {.allowed = BIND_TCP, .port = 0};
    result = (int)syscall(SYS_landlock_add_rule, ruleset, PORT_RULE, &rule, 0);
  }
  if (result == 0) result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (result == 0) result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
  int error = errno;
  close(ruleset);
  errno = error;
  return result == 0 ? version : -1;
}
