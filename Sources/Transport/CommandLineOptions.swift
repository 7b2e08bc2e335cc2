// CommandLineOptions: getopt_long(3) for the programs that must start fast.
//
// Options end at the first operand or at `--` (POSIX order), so that a program's own options never reach into those of
// the program that it is to execute. Uses the variables of getopt: one call at a time.

import CKernel
import Glibc

/// One option of a program: `--name`, and `-letter` if it has one.
public struct CommandLineOption: Hashable, Sendable {
  /// The one letter, or nil.
  public let letter: Unicode.Scalar?
  /// The long name, without `--`.
  public let name: String
  /// Whether a value follows.
  public let takesValue: Bool

  /// An option; by default without value.
  public init(_ letter: Unicode.Scalar?, _ name: String, takesValue: Bool = false) {
    self.letter = letter
    self.name = name
    self.takesValue = takesValue
  }
}

/// A command line that cannot be used.
public struct CommandLineError: Error, Hashable, Sendable, CustomStringConvertible {
  /// One line that says what is wrong.
  public let description: String

  /// An error with its one line.
  public init(_ description: String) {
    self.description = description
  }
}

extension CommandLineOption {
  /// A command line as `main` gets it.
  public typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

  /// Reads a program's options.
  ///
  /// - Parameters:
  ///   - options: those that the program has.
  ///   - count: the first argument of `main`: how many words there are, the program's name included.
  ///   - arguments: the second one: the words. They may be put in another order.
  ///   - accept: gets each option's long name and its value, in the order in which they stand; the value is empty where
  ///     the option takes none.
  /// - Returns: the index of the first operand, `count` if there is none.
  public static func parse(
    _ options: [CommandLineOption], count: CInt, arguments: Arguments,
    _ accept: (_ name: String, _ value: String) throws(CommandLineError) -> Void
  ) throws(CommandLineError) -> Int {
    var letters = "+:"
    var table: [option] = []
    defer { for entry in table { free(UnsafeMutablePointer(mutating: entry.name)) } }
    for (index, entry) in options.enumerated() {
      if let letter = entry.letter { letters += "\(letter)" + (entry.takesValue ? ":" : "") }
      // Above every letter: getopt answers the letter or the long option's place in the list.
      table.append(
        option(
          name: strdup(entry.name), has_arg: entry.takesValue ? required_argument : no_argument, flag: nil,
          val: CInt(256 + index)))
    }
    table.append(option(name: nil, has_arg: 0, flag: nil, val: 0))
    kernel_set_optind(0)
    kernel_set_opterr(0)
    while true {
      let index = Int(max(1, kernel_optind()))
      let answer = kernel_getopt_long(count, arguments, letters, table, nil)
      if answer == -1 { return Int(kernel_optind()) }
      let word = index < Int(count) ? arguments[index].map { String(cString: $0) } ?? "" : ""
      if answer == CInt(UInt8(ascii: ":")) { throw CommandLineError("\(word) needs a value; see --help") }
      guard let known = options.enumerated().first(where: { CInt(256 + $0) == answer || $1.matches(answer) }) else {
        throw CommandLineError("\(word) is not an option; see --help")
      }
      try accept(known.element.name, kernel_optarg().map { String(cString: $0) } ?? "")
    }
  }

  private func matches(_ answer: CInt) -> Bool {
    letter.map { CInt(bitPattern: $0.value) == answer } ?? false
  }

  /// An option's value as a whole number without sign, at most 2^31 - 1.
  public static func number(_ value: String, of name: String) throws(CommandLineError) -> Int {
    let isPlain = !value.isEmpty && value.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    guard isPlain, let number = Int(value), number <= Int(CInt.max) else {
      throw CommandLineError("--\(name) must be an unsigned integer")
    }
    return number
  }
}
