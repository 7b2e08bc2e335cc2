// ConfigurationKey: the keys of a configuration file. Each is the long name of an option.
//
// They are made from the definitions of the options, as the argument parser describes them: a new option is a new key.

import ArgumentParser
import FoundationEssentials

/// A key.
struct ConfigurationKey: Hashable {
  /// The type of its value, or of each element if it may be repeated.
  enum Kind: Hashable {
    /// true is the option, false is its absence.
    case flag
    case integer
    case string
    /// The words of the command line after `--`.
    case program
    /// A number of processes.
    case workers
  }

  let name: String
  let kind: Kind
  /// True for an array.
  let isRepeating: Bool
  /// The text of the default; nil if there is none.
  let defaultText: String?
  /// What a value stands for.
  let valueName: String
  /// What the option means, as in the help.
  let meaning: String
  /// The heading of its options in the help; empty for none.
  let section: String

  /// The type for messages.
  var expected: String {
    if isRepeating { return "an array of \(kind == .integer ? "integers" : "strings")" }
    return switch kind {
    case .flag: "true or false"
    case .integer: "an integer"
    case .string: "a string"
    case .program: "an array of strings"
    case .workers: "an integer or \"auto\""
    }
  }

  static let program = ConfigurationKey(
    name: "backend-program", kind: .program, isRepeating: false, defaultText: nil, valueName: "word",
    meaning: "Server program and its arguments.", section: "")
  static let workers = ConfigurationKey(
    name: "workers", kind: .workers, isRepeating: false, defaultText: "auto", valueName: "number",
    meaning: "Processes that serve the listener, or \"auto\" for one for each processor, at most \(WorkerCount.autoLimit).", section: "")

  /// Each listener has its own addresses.
  var isOfListener: Bool { name == "listen" || name == "listen-tls" }

  /// In the order of the help.
  static let all: [ConfigurationKey] = {
    let keys = zip(describedOptions, OptionTypes.areIntegers(StartTLSDaemon.self))
      .filter { $0.0.isKey }.compactMap { ConfigurationKey($0.0, isInteger: $0.1) }
    return keys + [program, workers]
  }()

  static let byName = Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

  /// The options that are no keys.
  static let otherOptions = Set(describedOptions.filter { !$0.isKey }.compactMap(\.longName)).subtracting(byName.keys)

  private static let describedOptions: [DescribedOption] = {
    let description = try? JSONDecoder().decode(DescribedProgram.self, from: Data(StartTLSDaemon._dumpHelp().utf8))
    return description?.command.arguments ?? []
  }()

  private init?(_ option: DescribedOption, isInteger: Bool) {
    guard let name = option.longName else { return nil }
    self.init(
      name: name, kind: option.kind == "flag" ? .flag : isInteger ? .integer : .string,
      isRepeating: option.isRepeating, defaultText: option.defaultValue ?? option.defaultInText, valueName: option.example ?? name,
      meaning: option.abstract ?? "", section: option.sectionTitle ?? "")
  }

  private init(
    name: String, kind: Kind, isRepeating: Bool, defaultText: String?, valueName: String, meaning: String, section: String
  ) {
    self.name = name
    self.kind = kind
    self.isRepeating = isRepeating
    self.defaultText = defaultText
    self.valueName = valueName
    self.meaning = meaning
    self.section = section
  }
}

/// The types of options, which the description does not have. Parser and description have the options in the order of their
/// declarations.
private enum OptionTypes {
  /// For each option, flag and argument: true if its value is an integer.
  static func areIntegers(_ type: any ParsableArguments.Type) -> [Bool] {
    Mirror(reflecting: type.init()).children.flatMap { child in
      switch child.value {
      case let group as any OptionTypesOfGroup: areIntegers(group.content)
      case is Option<Int>, is Option<Int?>, is Option<Int32>, is Option<Int32?>, is Option<[Int]>: [true]
      default: [false]
      }
    }
  }
}

private protocol OptionTypesOfGroup {
  var content: any ParsableArguments.Type { get }
}

extension OptionGroup: OptionTypesOfGroup {
  fileprivate var content: any ParsableArguments.Type { Value.self }
}

/// The part that is used here of what `--experimental-dump-help` prints.
private struct DescribedProgram: Decodable {
  struct Command: Decodable { let arguments: [DescribedOption] }
  let command: Command
}

private struct DescribedOption: Decodable {
  struct Name: Decodable {
    let kind: String
    let name: String
  }

  let kind: String
  let names: [Name]?
  let valueName: String?
  let defaultValue: String?
  let allValues: [String]?
  let isRepeating: Bool
  let abstract: String?
  let sectionTitle: String?

  /// nil for a word without a name.
  var longName: String? { names?.first { $0.kind == "long" }?.name }

  /// False for an option of how starttlsd is started, or what else it does than serving.
  var isKey: Bool {
    guard let longName else { return false }
    return !["Service managers", "Workers", "Configuration file"].contains(sectionTitle)
      && !["help", "version", "implicit-tls", "workers"].contains(longName)
  }

  /// A number in brackets at the end of the help is the default.
  var defaultInText: String? {
    guard let abstract, abstract.hasSuffix("]."), let bracket = abstract.lastIndex(of: "[") else { return nil }
    return Int(abstract[bracket...].dropFirst().dropLast(2)).map { "\($0)" }
  }

  /// What a value stands for, or one of the possible values.
  var example: String? {
    let value = allValues?.first
    return value != nil && [longName, nil].contains(valueName) ? value : valueName
  }
}
