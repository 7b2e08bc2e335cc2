// ProgramSide: the channels to the server program, as this process was given them.
//
// They may be pipes or sockets, and the same number may stand for two or all three of them; each use then gets a
// descriptor of its own. No flag of theirs is ever set.

import Glibc
import Transport

/// The descriptors of the server program's side.
struct ProgramSide: ~Copyable {
  /// What goes into TLS; nil once it has ended.
  private var input: OctetStream?
  /// What comes out of TLS; nil once it has ended.
  private var output: OctetStream?
  private var notification: Descriptor?
  /// The number of `input`, to be polled; -1 once it has ended.
  private(set) var inputNumber: CInt
  /// The number of `output`, to be polled; -1 once it has ended.
  private(set) var outputNumber: CInt

  /// Takes the descriptors over that the command line names.
  static func take(_ options: Options) throws(SystemError) -> ProgramSide {
    // All of them, before any is owned: what is not open must not be closed.
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

  /// The number itself, or a second descriptor for it where it is owned already.
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

  /// Writes what the program is to read.
  mutating func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    output?.write(octets) ?? .failed(SystemError("write", EPIPE))
  }

  /// Nothing more is taken from the program: its next write fails.
  mutating func endInput() {
    // The same socket may be open as the output: closing one of the two numbers would not stop the program's writes.
    if let number = input?.socketNumber() { try? Kernel.shutdown(number, CInt(SHUT_RD)) }
    input = nil
    inputNumber = -1
  }

  /// Whether the program's octets have ended.
  var hasEnded: Bool { inputNumber < 0 }

  /// Whether the program gets no more octets.
  var isDeaf: Bool { outputNumber < 0 }

  /// The program reads an end behind what was written.
  mutating func endOutput() {
    if output?.kind == .socket { try? output?.descriptor.shutdownSending() }
    output = nil
    outputNumber = -1
  }

  /// Reports the session, if that was asked for, and closes the channel for it. A program that closed its end does not
  /// want to know: no failure.
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
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.
  fileprivate mutating func socketNumber() -> CInt? { kind == .socket ? descriptor.number : nil }
}
