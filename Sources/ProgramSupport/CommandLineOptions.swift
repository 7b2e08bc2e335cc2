// CommandLineOptions: getopt_long(3) for the programs that must start fast.
//
// Options end at the first operand or at `--` (POSIX order), so that the options of the program to execute are not
// parsed. It uses the global variables of getopt: one call at a time.
//
// A program's options are an InlineArray of plain values, and the tables for getopt are plain memory. For an Array the
// runtime would build metadata from a mangled name, which is a measurable cost in a program that runs for milliseconds.
//
// Failure: a CommandLineError, whose text is one line.

import CKernel
import Glibc
import Transport

/// One option of a program: `--name`, and `-letter` if it has one.
public struct CommandLineOption: Sendable {
  /// The option letter, or nil.
  public let letter: Unicode.Scalar?
  /// The long name, without `--`.
  public let name: StaticString
  /// True if the option takes a value.
  public let takesValue: Bool

  /// Creates an option; by default without value.
  public init(_ letter: Unicode.Scalar?, _ name: StaticString, takesValue: Bool = false) {
    self.letter = letter
    self.name = name
    self.takesValue = takesValue
  }
}

/// A command line with an error.
public struct CommandLineError: Error, Hashable, Sendable, CustomStringConvertible {
  /// One line that states the error.
  public let description: String

  /// Creates an error with its line.
  public init(_ description: String) {
    self.description = description
  }
}

extension CommandLineOption {
  /// The arguments in the form that `main` gets them.
  public typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

  /// Parses a program's options.
  ///
  /// - Parameters:
  ///   - options: the options of this program.
  ///   - shared: the options that it shares with other programs.
  ///   - count: the first argument of `main`: the number of arguments, including the program's name.
  ///   - arguments: the second argument of `main`. The arguments may be reordered.
  ///   - accept: called for each option in order, with its long name and its value. The value is empty if the option
  ///     takes none.
  /// - Returns: the index of the first operand, `count` if there is none.
  public static func parse(
    _ options: Span<CommandLineOption>, shared: Span<CommandLineOption> = Span(),
    count: CInt, arguments: Arguments,
    _ accept: (_ name: String, _ value: String) throws(CommandLineError) -> Void
  ) throws(CommandLineError) -> Int {
    var table = OptionTable(capacity: options.count + shared.count)
    for index in options.indices { table.append(options[index]) }
    for index in shared.indices { table.append(shared[index]) }
    kernel_set_optind(0)
    kernel_set_opterr(0)
    while true {
      let word = Int(max(1, kernel_optind()))
      let answer = kernel_getopt_long(count, arguments, table.letters, table.entries, nil)
      if answer == -1 { return Int(kernel_optind()) }
      guard let place = table.place(of: answer) else {
        let text = word < Int(count) ? arguments[word].map { String(cString: $0) } ?? "" : ""
        let trouble = answer == CInt(UInt8(ascii: ":")) ? "needs a value" : "is not an option"
        throw CommandLineError("\(text) \(trouble); see --help")
      }
      let option = place < options.count ? options[place] : shared[place - options.count]
      try accept("\(option.name)", kernel_optarg().map { String(cString: $0) } ?? "")
    }
  }

  /// The value of an option as an unsigned integer, at most 2^31 - 1.
  public static func number(_ value: String, of name: String) throws(CommandLineError) -> Int {
    let isPlain = !value.isEmpty && value.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard isPlain, let number = Int(value), number <= Int(CInt.max) else {
      throw CommandLineError("--\(name) must be an unsigned integer")
    }
    return number
  }
}

/// Options in the form of getopt_long(3).
private struct OptionTable: ~Copyable {
  /// The letters, with `:` after one that takes a value, terminated by NUL.
  let letters: UnsafeMutablePointer<CChar>
  /// The long names, terminated by an empty entry.
  let entries: UnsafeMutablePointer<option>
  private var lettersCount = 0
  private var count = 0

  init(capacity: Int) {
    letters = .allocate(capacity: 2 + 2 * capacity + 1)
    entries = .allocate(capacity: capacity + 1)
    // POSIX order; a missing value is reported as `:`.
    append(letter: "+")
    append(letter: ":")
    end()
  }

  deinit {
    letters.deallocate()
    entries.deallocate()
  }

  mutating func append(_ added: CommandLineOption) {
    if let letter = added.letter {
      append(letter: letter)
      if added.takesValue { append(letter: ":") }
    }
    // getopt returns the letter or, for an option without one, its index plus an offset above all letters.
    entries[count] = option(
      name: added.name.characters, has_arg: added.takesValue ? required_argument : no_argument, flag: nil,
      val: added.letter.map { CInt(bitPattern: $0.value) } ?? 256 + CInt(count))
    count += 1
    end()
  }

  private mutating func append(letter: Unicode.Scalar) {
    letters[lettersCount] = CChar(truncatingIfNeeded: letter.value)
    lettersCount += 1
  }

  private mutating func end() {
    letters[lettersCount] = 0
    entries[count] = option(name: nil, has_arg: 0, flag: nil, val: 0)
  }

  /// The index of the option that getopt returned; nil if it is unknown.
  func place(of answer: CInt) -> Int? {
    for index in 0..<count where entries[index].val == answer { return index }
    return nil
  }
}
