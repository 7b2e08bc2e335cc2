// ForkedProcess: a child of this process that continues in our own code, connected by a `MessageSocket`.
//
// Contract: the child has descriptors 0 and 1 on /dev/null, 2 inherited or on /dev/null, its socket, those that its
// creator names, and no other. It ignores the signals that a service manager or a terminal sends to all processes of a service: the end of the
// connection is its order to end. So it also ends if this process is killed. (PR_SET_PDEATHSIG would not do: a process
// without privileges that ends cannot signal a child with privileges.)

import CKernel
import Glibc

/// A child that runs our own code, and the connection to it.
package struct ForkedProcess: ~Copyable, Sendable {
  package let socket: MessageSocket
  package let process: CInt
  /// Readable once the process has ended.
  private let descriptor: Descriptor

  /// Forks. Call it while this process has one thread.
  ///
  /// - Parameters:
  ///   - name: what ps(1) shows, at most 15 octets.
  ///   - keepsErrors: true if the child keeps standard error.
  ///   - kept: more descriptors that stay open in the child, where `body` adopts them.
  ///   - body: what the child does. It never returns into the code of this process.
  package init(
    _ name: String, keepsErrors: Bool, keeping kept: [CInt] = [], _ body: (consuming MessageSocket) -> Never
  ) throws(SystemError) {
    let pair = try MessageSocket.pair()
    let own = pair.second.number
    let process = try Kernel.fork()
    if process == 0 { ForkedProcess.enter(name, keepsErrors, own, kept, body) }
    do {
      descriptor = Descriptor(adopting: try Kernel.processDescriptor(process))
    } catch {
      Kernel.destroy(process)
      throw error
    }
    self.process = process
    socket = MessageSocket(pair.takeFirst())
  }

  private static func enter(
    _ name: String, _ keepsErrors: Bool, _ number: CInt, _ others: [CInt], _ body: (consuming MessageSocket) -> Never
  ) -> Never {
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP] { Glibc.signal(number, SIG_IGN) }
    Glibc.signal(SIGCHLD, SIG_DFL)
    _ = kernel_set_process_name(name)
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard null >= 0, dup2(null, 0) == 0, dup2(null, 1) == 1, keepsErrors || dup2(null, 2) == 2 else { _exit(111) }
    // The socket is open under this number only, and this process never ends the value that owns it in its copy of the
    // parent's memory.
    closeAll(but: [number] + others)
    body(MessageSocket(Descriptor(adopting: number)))
  }

  // In `enter`, which never returns, the array would have no end, and its span none either.
  private static func closeAll(but kept: [CInt]) { DetachedProcess.closeAll(but: kept.span) }

  /// Kills it, if it still runs. It is not reaped.
  package borrowing func kill() { try? Kernel.signal(descriptor.number, SIGKILL) }

  /// Ends the connection, which is the order to end, and waits for at most this time.
  ///
  /// - Returns: how the process ended; nil if it still runs. It is reaped.
  package borrowing func end(within milliseconds: CInt) -> ProcessEnd? {
    try? Kernel.shutdown(socket.descriptor.number, CInt(SHUT_RDWR))
    var entry = pollfd(fd: descriptor.number, events: CShort(POLLIN), revents: 0)
    guard poll(&entry, 1, milliseconds) == 1, let answer = try? Kernel.reap(descriptor.number) else { return nil }
    return answer.killed ? .signalled(answer.value) : .exited(answer.value)
  }
}
