// DetachedProcess: a process that is nobody's child.
//
// A server program must not have a child that it does not know of, nor a zombie when that ends. So what runs beside it
// is a grandchild, and the child between ends at once and is reaped here.

import CKernel
import Glibc

/// Which of the two processes one is behind a fork.
package enum DetachedProcess {
  case original
  case detached

  /// Forks; to be called while the process has one thread.
  package static func fork() throws(SystemError) -> DetachedProcess {
    switch kernel_fork_detached() {
    case 0: return .detached
    case 1: return .original
    default: throw SystemError.last("fork")
    }
  }

  /// Closes every descriptor of the process from 3 on but those that are kept. A negative number keeps nothing. Only for
  /// a process that then owns no others, or executes a program, or ends: it closes what others own.
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
