// CommandLineOptions: getopt_long(3) for the programs that must start fast.
//
// Options end at the first operand or at `--` (POSIX order), so that the options of the program to execute are not
// parsed. It uses the global variables of getopt: one call at a time.
//
// The tables for getopt are plain memory. For an Array the runtime would build metadata from a mangled name, which is a measurable
// cost in a program that runs for milliseconds.
//
// Failure: a CommandLineError, whose text is one line.

import CKernel
import Glibc
import Transport

/// How an option is written: `--name`, and `-letter` if it has one.
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
}

/// The options of a program, or a part of them: an enumeration with a case for each, numbered from 0. The compiler checks that a
/// program handles each of its options.
public protocol ProgramOption: RawRepresentable, Sendable where RawValue == Int {
  /// How the option is written.
  var form: CommandLineOption { get }
}

extension ProgramOption {
  /// Parses a program's options.
  ///
  /// - Parameters:
  ///   - count: the first argument of `main`: the number of arguments, including the program's name.
  ///   - arguments: the second argument of `main`. The arguments may be reordered.
  ///   - accept: called for each option in order, with its value. The value is empty if the option takes none.
  /// - Returns: the index of the first operand, `count` if there is none.
  public static func parse(
    count: CInt, arguments: CommandLineOption.Arguments,
    _ accept: (_ option: Self, _ value: String) throws(CommandLineError) -> Void
  ) throws(CommandLineError) -> Int {
    var table = OptionTable(capacity: Self.count)
    Self.append(to: &table)
    return try table.parse(count: count, arguments: arguments) { (place, value) throws(CommandLineError) in
      if let option = Self(rawValue: place) { try accept(option, value) }
    }
  }

  /// Parses a program's options together with those that it shares with other programs.
  public static func parse<Shared: ProgramOption>(
    count: CInt, arguments: CommandLineOption.Arguments,
    shared acceptShared: (_ option: Shared, _ value: String) throws(CommandLineError) -> Void,
    _ accept: (_ option: Self, _ value: String) throws(CommandLineError) -> Void
  ) throws(CommandLineError) -> Int {
    let own = Self.count
    var table = OptionTable(capacity: own + Shared.count)
    Self.append(to: &table)
    Shared.append(to: &table)
    return try table.parse(count: count, arguments: arguments) { (place, value) throws(CommandLineError) in
      if let option = Self(rawValue: place) {
        try accept(option, value)
      } else if let option = Shared(rawValue: place - own) {
        try acceptShared(option, value)
      }
    }
  }

  /// The number of options.
  private static var count: Int {
    var count = 0
    while Self(rawValue: count) != nil { count += 1 }
    return count
  }

  private static func append(to table: inout OptionTable) {
    var number = 0
    while let option = Self(rawValue: number) {
      table.append(option.form)
      number += 1
    }
  }

  // MARK: - Values

  /// The option's value as an unsigned integer in a range.
  public func number(_ value: String, _ range: ClosedRange<Int> = 0...Int(CInt.max)) throws(CommandLineError) -> Int {
    let isPlain = !value.isEmpty && value.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    let isUnlimited = range.lowerBound == 0 && range.upperBound >= CInt.max
    guard isPlain, let number = Int(value), number <= range.upperBound || !isUnlimited else {
      throw CommandLineError("--\(form.name) must be an unsigned integer")
    }
    guard range.contains(number) else {
      throw CommandLineError("--\(form.name) must be from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// The option's value as one of a list.
  public func choice<Choice>(_ value: String, _ choices: KeyValuePairs<String, Choice>) throws(CommandLineError) -> Choice {
    if let chosen = choices.first(where: { $0.key == value }) { return chosen.value }
    throw CommandLineError("--\(form.name) must be one of " + choices.map(\.key).joined(separator: ", "))
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

  /// Parses the options; `accept` gets the index of each.
  borrowing func parse(
    count: CInt, arguments: CommandLineOption.Arguments, _ accept: (_ place: Int, _ value: String) throws(CommandLineError) -> Void
  ) throws(CommandLineError) -> Int {
    kernel_set_optind(0)
    kernel_set_opterr(0)
    while true {
      let word = Int(max(1, kernel_optind()))
      let answer = kernel_getopt_long(count, arguments, letters, entries, nil)
      if answer == -1 { return Int(kernel_optind()) }
      guard let place = place(of: answer) else {
        let text = word < Int(count) ? arguments[word].map { String(cString: $0) } ?? "" : ""
        let trouble = answer == CInt(UInt8(ascii: ":")) ? "needs a value" : "is not an option"
        throw CommandLineError("\(text) \(trouble); see --help")
      }
      try accept(place, kernel_optarg().map { String(cString: $0) } ?? "")
    }
  }

  /// The index of the option that getopt returned; nil if it is unknown.
  private func place(of answer: CInt) -> Int? {
    for index in 0..<count where entries[index].val == answer { return index }
    return nil
  }
}
