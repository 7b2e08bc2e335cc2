// BackendChild: a process of the server program as BackendProcess sees it: a child of starttlsd, or one that the starter
// has started.

import Glibc
import Transport

protocol BackendChild: AnyObject {
  /// The process number, for messages; 0 while it is not known.
  var process: CInt { get }
  /// What to wait for; nil if the owner is notified in another way.
  var watch: Watch? { get }
  /// True if the process has ended. This does not reap it.
  var hasEnded: Bool { get }
  /// Why it could not be started.
  var startFailure: String? { get }
  /// Sends a signal to its process group, until it is reaped.
  func signalGroup(_ signal: CInt)
  /// How it ended; nil while it runs. Reaps it.
  func reap() throws(SystemError) -> ProcessEnd?
}

/// A child of starttlsd (--inetd).
final class OwnChild: BackendChild {
  private var child: ChildProcess

  init(_ child: consuming ChildProcess) {
    self.child = child
  }

  var process: CInt { child.process }
  var watch: Watch? { Watch(descriptor: child.descriptor.number, events: CShort(POLLIN)) }
  var hasEnded: Bool { child.hasEnded() }
  var startFailure: String? { nil }
  func signalGroup(_ signal: CInt) { try? child.signalGroup(signal) }
  func reap() throws(SystemError) -> ProcessEnd? { try child.reap() }
}
