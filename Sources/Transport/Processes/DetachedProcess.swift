// DetachedProcess: a process that is not a child of the program.
//
// A server program must not have a child that it does not know of, nor a zombie when that child ends. A process that
// runs beside it is therefore a grandchild: the child between them ends at once and is reaped here.

import CKernel
import Glibc

/// Which of the two processes is running after a fork.
package enum DetachedProcess {
  case original
  case detached

  /// Forks. Call it while the process has one thread.
  package static func fork() throws(SystemError) -> DetachedProcess {
    switch kernel_fork_detached() {
    case 0: return .detached
    case 1: return .original
    default: throw SystemError.last("fork")
    }
  }

  /// Closes all descriptors of the process from 3 on, except those to keep. A negative number keeps nothing. Call it
  /// only in a process that owns no other descriptors from then on, or executes a program, or ends: it closes
  /// descriptors regardless of their owners.
  package static func closeAll(but kept: Span<CInt>) {
    var first: CInt = 3
    while true {
      var next = CInt.max
      for index in kept.indices where kept[index] >= first { next = min(next, kept[index]) }
      guard next < CInt.max else { break }
      if next > first { _ = kernel_close_range(CUnsignedInt(first), CUnsignedInt(next - 1), 0) }
      first = next + 1
    }
    _ = kernel_close_range(CUnsignedInt(first), CUnsignedInt.max, 0)
  }
}
