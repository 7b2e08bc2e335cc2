// DetachedProcess: a process that is nobody's child.
//
// The server program must not have a child that it does not know of, nor a zombie when that ends. So the proxy is a
// grandchild, and the child between ends at once and is reaped here.

import Glibc
import Transport

/// Which of the two processes one is behind a fork.
enum DetachedProcess {
  case original
  case detached

  /// Forks; to be called while the process has one thread.
  static func fork() throws(SystemError) -> DetachedProcess {
    let child = Glibc.fork()
    if child == 0 {
      switch Glibc.fork() {
      case 0: return .detached
      case -1: _exit(errno)
      default: _exit(0)
      }
    }
    guard child > 0 else { throw SystemError.last("fork") }
    var status: CInt = 0
    while waitpid(child, &status, 0) < 0 {
      // ECHILD: this process was started with SIGCHLD ignored, and the child has ended.
      guard errno == EINTR else { return .original }
    }
    // The second fork's errno is the exit code, in the status's second octet.
    guard status == 0 else { throw SystemError("fork", status >> 8 & 0xff) }
    return .original
  }
}
