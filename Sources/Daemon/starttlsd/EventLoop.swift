// EventLoop: epoll, and the owners of the descriptors.
//
// Each owner gets the time at which its own turn starts. A turn that starts a program takes milliseconds: with one time
// for the whole batch, timers of the later owners would start too early.
//
// Level-triggered. Each descriptor has one owner, found by its number. If a number is closed and reused within one
// batch, an owner may be notified of an event of another descriptor. So `ready` means "make progress", never "it is
// readable".

import CKernel
import Glibc
import Transport

/// An object that waits for descriptors.
protocol EventOwner: AnyObject {
  /// An event may have occurred.
  func ready(now: Int)
}

final class EventLoop {
  private let epoll: Descriptor
  private var owners: [(any EventOwner)?] = []
  private var events = [epoll_event](repeating: epoll_event(), count: 256)

  init() throws(SystemError) {
    let number = epoll_create1(KERNEL_EPOLL_CLOEXEC)
    guard number >= 0 else { throw SystemError.last("epoll_create1") }
    epoll = Descriptor(adopting: number)
  }

  /// Changes the registration of an owner from one watch to another; nil means none.
  ///
  /// - Parameter old: the current registration. Pass nil if the number was closed meanwhile: closing removes it.
  func update(_ old: Watch?, to new: Watch?, for owner: any EventOwner) throws(SystemError) {
    if old == new { return }
    if let old, old.descriptor != new?.descriptor { remove(old.descriptor) }
    guard let new else { return }
    let isKnown = old?.descriptor == new.descriptor
    var event = epoll_event()
    event.events = UInt32(UInt16(bitPattern: new.events))
    event.data.fd = new.descriptor
    let operation = isKnown ? EPOLL_CTL_MOD : EPOLL_CTL_ADD
    guard epoll_ctl(epoll.number, operation, new.descriptor, &event) == 0 else { throw SystemError.last("epoll_ctl") }
    let index = Int(new.descriptor)
    while owners.count <= index { owners.append(nil) }
    owners[index] = owner
  }

  /// Stops waiting for an open descriptor.
  func remove(_ number: CInt) {
    _ = epoll_ctl(epoll.number, EPOLL_CTL_DEL, number, nil)
    forget(number)
  }

  /// A descriptor was closed.
  func forget(_ number: CInt) {
    if Int(number) < owners.count { owners[Int(number)] = nil }
  }

  /// Waits until an event occurs or the deadline has passed, and notifies the owners.
  func wait(until deadline: Int?) throws(SystemError) {
    let milliseconds = deadline.map { CInt(clamping: max(0, $0 - Clock.now())) } ?? -1
    let count = epoll_wait(epoll.number, &events, CInt(events.count), milliseconds)
    guard count >= 0 else {
      if errno == EINTR { return }
      throw SystemError.last("epoll_wait")
    }
    for index in 0..<Int(count) {
      let number = Int(events[index].data.fd)
      if number < owners.count { owners[number]?.ready(now: Clock.now()) }
    }
  }
}
