// EventLoop: epoll, and the owners of the descriptors.
//
// Each owner gets the time at which its own turn starts. A turn that starts a program takes milliseconds: with one time
// for the whole batch, timers of the later owners would start too early.
//
// Level-triggered, unless an owner asks for something else. Each descriptor has one owner, found by its number. If a number is closed and reused within one
// batch, an owner may be notified of an event of another descriptor. So `ready` means "make progress", never "it is
// readable". An owner of several descriptors is notified once in a batch and can ask for the events of each.

import CKernel
import Glibc
import Transport

/// An object that waits for descriptors.
protocol EventOwner: AnyObject {
  /// An event may have occurred.
  func ready(now: Int)
  /// Events were reported, see `EventLoop.takeEvents`. The default calls `ready`.
  func reported(now: Int)
}

extension EventOwner {
  func reported(now: Int) { ready(now: now) }
}

final class EventLoop {
  private var epoll: Descriptor
  private var owners: [Registration] = []
  private var events = [epoll_event](repeating: epoll_event(), count: 256)
  /// How many turns in a row had an event of a descriptor that is closed here.
  private var staleTurns = 0
  /// Counts the turns, from 1: a turn ends with a call of `wait` that reports all events that there are.
  private(set) var turn = 1

  /// What is registered for a number.
  private struct Registration {
    var owner: (any EventOwner)?
    var events: UInt32 = 0
    /// Distinguishes this registration from earlier ones of the same number.
    var generation: UInt32 = 0
    /// The events of the current batch that the owner has not taken.
    var reported: UInt32 = 0
  }

  init() throws(SystemError) {
    epoll = try EventLoop.create()
  }

  private static func create() throws(SystemError) -> Descriptor {
    let number = epoll_create1(KERNEL_EPOLL_CLOEXEC)
    guard number >= 0 else { throw SystemError.last("epoll_create1") }
    return Descriptor(adopting: number)
  }

  /// Changes the registration of an owner from one watch to another; nil means none.
  ///
  /// - Parameters:
  ///   - old: the current registration. Pass nil if the number was closed meanwhile: closing removes it.
  ///   - isShared: true if other processes wait for the same socket: an event wakes one of them, not all (EPOLLEXCLUSIVE). Such a
  ///     registration can be removed, but not changed.
  ///   - reportsChanges: true to be notified of what arrives from now on, and once of what is there (EPOLLET): for an owner that
  ///     leaves octets unread.
  func update(
    _ old: Watch?, to new: Watch?, for owner: any EventOwner, isShared: Bool = false, reportsChanges: Bool = false
  ) throws(SystemError) {
    if old == new { return }
    if let old, old.descriptor != new?.descriptor { remove(old.descriptor) }
    guard let new else { return }
    let isKnown = old?.descriptor == new.descriptor
    let index = Int(new.descriptor)
    while owners.count <= index { owners.append(Registration()) }
    if !isKnown {
      owners[index].generation &+= 1
      owners[index].reported = 0
    }
    let events = UInt32(UInt16(bitPattern: new.events)) | (isShared ? KERNEL_EPOLL_EXCLUSIVE : 0) | (reportsChanges ? KERNEL_EPOLL_CHANGES : 0)
    try control(isKnown ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, index, events)
    owners[index].owner = owner
    owners[index].events = events
  }

  private func control(_ operation: CInt, _ index: Int, _ events: UInt32) throws(SystemError) {
    var event = epoll_event()
    event.events = events
    event.data.u64 = UInt64(owners[index].generation) << 32 | UInt64(index)
    guard epoll_ctl(epoll.number, operation, CInt(index), &event) == 0 else { throw SystemError.last("epoll_ctl") }
  }

  /// Stops waiting for an open descriptor.
  func remove(_ number: CInt) {
    _ = epoll_ctl(epoll.number, EPOLL_CTL_DEL, number, nil)
    forget(number)
  }

  /// A descriptor was closed.
  func forget(_ number: CInt) {
    if Int(number) < owners.count { owners[Int(number)].owner = nil }
  }

  /// Waits until an event occurs or the deadline has passed, and notifies the owners.
  func wait(until deadline: Int?) throws(SystemError) {
    let milliseconds = deadline.map { CInt(clamping: max(0, $0 - Clock.now())) } ?? -1
    let count = epoll_wait(epoll.number, &events, CInt(events.count), milliseconds)
    guard count >= 0 else {
      if errno == EINTR { return }
      throw SystemError.last("epoll_wait")
    }
    if Int(count) < events.count { turn &+= 1 }
    // Before the first owner is notified: an owner may close the descriptor of a later event.
    var isStale = false
    for event in events[..<Int(count)] {
      if owner(of: event) != nil { owners[index(of: event)].reported = event.events } else { isStale = true }
    }
    for event in events[..<Int(count)] {
      guard let owner = owner(of: event), owners[index(of: event)].reported != 0 else { continue }
      owner.reported(now: Clock.now())
      owners[index(of: event)].reported = 0
    }
    staleTurns = isStale ? staleTurns + 1 : 0
    if staleTurns > EventLoop.staleLimit { try registerAgain() }
  }

  /// `starttlsd-conn` closes its copy of a socket a moment after it has sent it, and by that ends such a registration.
  private static let staleLimit = 64

  /// The events of a descriptor that were reported in this batch and not taken before; 0 if there are none.
  func takeEvents(_ watch: Watch?) -> CShort {
    guard let watch, Int(watch.descriptor) < owners.count else { return 0 }
    defer { owners[Int(watch.descriptor)].reported = 0 }
    return CShort(truncatingIfNeeded: owners[Int(watch.descriptor)].reported)
  }

  private func index(of event: epoll_event) -> Int { Int(UInt32(truncatingIfNeeded: event.data.u64)) }

  private func owner(of event: epoll_event) -> (any EventOwner)? {
    let registration = owners[index(of: event)]
    return registration.generation == UInt32(truncatingIfNeeded: event.data.u64 >> 32) ? registration.owner : nil
  }

  /// Registers everything with a new epoll instance.
  ///
  /// A registration ends when the *description* is closed. If another process has a copy of the descriptor, as a super-server may
  /// have that started `--inetd`, the kernel reports it on, and there is no number left to remove it by.
  private func registerAgain() throws(SystemError) {
    staleTurns = 0
    epoll = try EventLoop.create()
    for index in owners.indices where owners[index].owner != nil { try control(EPOLL_CTL_ADD, index, owners[index].events) }
  }
}
