// ProgramSide: the channels to the server program that this process was given.
//
// They may be pipes or sockets. The same number may be used for two or all three of them; each use then gets a
// descriptor of its own. No flag of theirs is ever set.

import Glibc
import Transport

/// The descriptors to the server program.
struct ProgramSide: ~Copyable {
  /// Octets to send into TLS; nil after its end.
  private var input: OctetStream?
  /// Octets received from TLS; nil after its end.
  private var output: OctetStream?
  private var notification: Descriptor?
  /// The number of `input`, to be polled; -1 after its end.
  private(set) var inputNumber: CInt
  /// The number of `output`, to be polled; -1 after its end.
  private(set) var outputNumber: CInt

  /// Takes ownership of the descriptors that the command line names.
  static func take(_ options: Options) throws(SystemError) -> ProgramSide {
    // All are checked before any is owned: a descriptor that is not open must not be closed.
    for number in [options.reading, options.writing, options.notification ?? options.reading] {
      _ = try Kernel.control(number, F_GETFD)
    }
    let reading = Descriptor(adopting: options.reading)
    let writing = try ProgramSide.own(options.writing, unless: options.reading)
    let notification = try ProgramSide.notification(options)
    return try ProgramSide(OctetStream(reading), OctetStream(writing), notification)
  }

  private init(_ input: consuming OctetStream, _ output: consuming OctetStream, _ notification: consuming Descriptor?) {
    inputNumber = input.descriptor.number
    outputNumber = output.descriptor.number
    self.input = consume input
    self.output = consume output
    self.notification = notification
  }

  /// The number itself, or a second descriptor for it if the number is already owned.
  private static func own(_ number: CInt, unless owned: CInt...) throws(SystemError) -> Descriptor {
    Descriptor(adopting: owned.contains(number) ? try Kernel.duplicate(number, above: 3) : number)
  }

  private static func notification(_ options: Options) throws(SystemError) -> Descriptor? {
    guard let number = options.notification else { return nil }
    return try own(number, unless: options.reading, options.writing)
  }

  /// Reads what the program has written.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    input?.read(into: buffer) ?? .ended
  }

  /// Writes octets for the program to read.
  mutating func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    output?.write(octets) ?? .failed(SystemError("write", EPIPE))
  }

  /// Accepts no more octets from the program: its next write fails.
  mutating func endInput() {
    // The same socket may be open as the output: closing one of the two numbers would not stop the program's writes.
    if let number = input?.socketNumber() { try? Kernel.shutdown(number, CInt(SHUT_RD)) }
    input = nil
    inputNumber = -1
  }

  /// True if the program's octets have ended.
  var hasEnded: Bool { inputNumber < 0 }

  /// True if the program gets no more octets.
  var hasClosedInput: Bool { outputNumber < 0 }

  /// The program reads an end after the octets written.
  mutating func endOutput() {
    if output?.kind == .socket { try? output?.descriptor.shutdownSending() }
    output = nil
    outputNumber = -1
  }

  /// Reports the session, if requested, and closes the channel for it. It is no failure if the program has closed its
  /// end.
  mutating func report(_ octets: [UInt8], by deadline: Int) throws(SystemError) {
    guard let descriptor = notification.take() else { return }
    var stream = try OctetStream(descriptor)
    var rest = octets[...]
    while !rest.isEmpty {
      switch rest.withUnsafeBytes({ stream.write($0) }) {
      case .moved(let count): rest = rest.dropFirst(count)
      case .wouldBlock, .ended:
        guard try Waiting.wait(for: stream.descriptor.number, POLLOUT, until: deadline) else {
          throw SystemError("write", ETIMEDOUT)
        }
      case .failed(let error):
        if error.code == EPIPE || error.code == ECONNRESET { return }
        throw error
      }
    }
  }
}

extension OctetStream {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
  fileprivate mutating func socketNumber() -> CInt? { kind == .socket ? descriptor.number : nil }
}
