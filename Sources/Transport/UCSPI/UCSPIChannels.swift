// UCSPIChannels: the server program's ends of the channels to a UCSPI-TLS helper.
//
// Environment variables name them: SSLCTLFD is the control socket, SSLREADFD carries octets out of TLS, SSLWRITEFD
// octets into TLS. The helper waits on the control socket and takes over the client's connection when it gets the
// command. The data channels may be sockets or pipes, and two or all three numbers may be the same. Each use then gets
// a descriptor of its own, so that nothing is closed twice.
//
// Contract: all numbers are checked before any is owned, since a descriptor that is not open must not be closed. No
// flag is set. Closing all three without a command tells the helper that there will be no TLS.
//
// Failure: a UCSPIChannelsError, whose text names the variable.
//
// Source: ucspi-tls(2), Gifford and Brady.

import Glibc

/// The variables do not name channels to a helper. The text is one line that names the variable and the reason.
public struct UCSPIChannelsError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The text, which names the variable.
  public let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// The channels to a UCSPI-TLS helper, owned.
public struct UCSPIChannels: ~Copyable {
  let control: Descriptor
  let reading: OctetStream
  let writing: OctetStream
  /// True if the octets of TLS use the control socket itself: then its sending half must not be ended.
  let isControlShared: Bool

  /// The names of the variables.
  public static let variables = ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"]

  /// Takes ownership of the descriptors that the variables name.
  ///
  /// - Parameter variable: returns the value of an environment variable, nil if it is not set.
  public init(_ variable: (String) -> String?) throws(UCSPIChannelsError) {
    let control = try UCSPIChannels.number("SSLCTLFD", variable)
    let reading = try UCSPIChannels.number("SSLREADFD", variable)
    let writing = try UCSPIChannels.number("SSLWRITEFD", variable)
    guard UCSPIChannels.kind(control) == S_IFSOCK else { throw UCSPIChannelsError("SSLCTLFD is not a socket") }
    try UCSPIChannels.check(reading, isNot: O_WRONLY, "SSLREADFD cannot be read from")
    try UCSPIChannels.check(writing, isNot: O_RDONLY, "SSLWRITEFD cannot be written to")
    do throws(SystemError) {
      self = try UCSPIChannels(adopting: control, reading, writing)
    } catch {
      throw UCSPIChannelsError("the channels to the TLS helper: \(error)")
    }
  }

  private init(adopting controlNumber: CInt, _ readingNumber: CInt, _ writingNumber: CInt) throws(SystemError) {
    let isShared =
      UCSPIChannels.isSame(readingNumber, controlNumber) || UCSPIChannels.isSame(writingNumber, controlNumber)
    let control = Descriptor(adopting: controlNumber)
    let reading = try OctetStream(UCSPIChannels.own(readingNumber, isOwned: readingNumber == controlNumber))
    let writing = try OctetStream(
      UCSPIChannels.own(writingNumber, isOwned: writingNumber == controlNumber || writingNumber == readingNumber))
    self.control = control
    self.reading = reading
    self.writing = writing
    isControlShared = isShared
  }

  /// Closes the data descriptors and leaves the control socket open, so that it ends with this process.
  package consuming func leaveControlOpen() throws(SystemError) {
    try control.setCloseOnExec(false)
    _ = control.release()
  }

  private static func number(_ name: String, _ variable: (String) -> String?) throws(UCSPIChannelsError) -> CInt {
    guard let value = variable(name) else {
      throw UCSPIChannelsError("\(name) is not set: this program runs under a UCSPI-TLS server")
    }
    let isPlain = !value.isEmpty && value.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard isPlain, let number = CInt(value) else { throw UCSPIChannelsError("\(name) is not the number of a descriptor") }
    guard number > STDERR_FILENO else { throw UCSPIChannelsError("\(name) is one of the standard streams") }
    guard (try? Kernel.control(number, F_GETFD)) != nil else { throw UCSPIChannelsError("\(name) is not open") }
    return number
  }

  private static func kind(_ number: CInt) -> mode_t? {
    (try? Kernel.status(number)).map { $0.st_mode & S_IFMT }
  }

  private static func check(_ number: CInt, isNot wrong: CInt, _ complaint: String) throws(UCSPIChannelsError) {
    guard let flags = try? Kernel.control(number, F_GETFL), flags & O_ACCMODE != wrong else {
      throw UCSPIChannelsError(complaint)
    }
  }

  /// True if two numbers are open on the same object.
  private static func isSame(_ one: CInt, _ other: CInt) -> Bool {
    guard let first = try? Kernel.status(one), let second = try? Kernel.status(other) else { return false }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  /// The number itself, or a second descriptor for it if the number is already owned.
  private static func own(_ number: CInt, isOwned: Bool) throws(SystemError) -> Descriptor {
    Descriptor(adopting: isOwned ? try Kernel.duplicate(number, above: 3) : number)
  }
}
