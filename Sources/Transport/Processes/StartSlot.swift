// StartSlot: a low descriptor number, through which a program gets its connection.
//
// The kernel copies a child's table of descriptors up to the number that the program gets, see `kernel_spawn`. New
// descriptors have the lowest free number: among ten thousand sessions that number is high, and the copy takes longer than
// all the rest of a start. So the connection is duplicated for a moment to a number that was reserved while few
// descriptors were open.
//
// Contract: reserve it early. Outside of `lend` the number is open on /dev/null.
//
// Failure: /dev/null cannot be opened, or no descriptor is free. Programs can be started without a slot; it costs time only.

import Glibc

/// A reserved low descriptor.
package final class StartSlot {
  /// Up to this number above the slot a duplicate would cost more than the copy of the table.
  private static let near: CInt = 64

  private let place: Descriptor
  /// What the place is open on outside of `lend`.
  private let nothing: Descriptor

  /// Reserves a number.
  package init() throws(SystemError) {
    place = Descriptor(adopting: try Kernel.open("/dev/null", O_RDWR))
    nothing = try place.duplicate()
  }

  /// Passes a low number to `body` that is open on the same description.
  func lend<Result>(_ number: CInt, _ body: (CInt) throws(SystemError) -> Result) throws(SystemError) -> Result {
    guard number > place.number + StartSlot.near else { return try body(number) }
    try Kernel.duplicate(number, over: place.number)
    defer { vacate() }
    return try body(place.number)
  }

  /// A place that stays open on a connection would keep the client from its end.
  private func vacate() {
    do {
      try Kernel.duplicate(nothing.number, over: place.number)
    } catch {
      fatalError("a reserved descriptor cannot be vacated: \(error)")
    }
  }
}
