// DispatchDescriptors: descriptors that libdispatch opens, and keeps, during the first test of a process.
//
// XCTest starts timers before a test. A thread of libdispatch then opens descriptors, at any moment. A test that compares what is
// open before and after it must begin later.

import Dispatch

package enum DispatchDescriptors {
  /// Waits, once, until a timer of each of libdispatch's clocks has fired.
  package static let areOpen: Void = {
    let fired = DispatchSemaphore(value: 0)
    let queue = DispatchQueue.global()
    queue.asyncAfter(deadline: .now()) { queue.asyncAfter(deadline: .now() + .milliseconds(1)) { fired.signal() } }
    queue.asyncAfter(wallDeadline: .now()) { queue.asyncAfter(wallDeadline: .now() + .milliseconds(1)) { fired.signal() } }
    for _ in 0..<2 { fired.wait() }
  }()
}
