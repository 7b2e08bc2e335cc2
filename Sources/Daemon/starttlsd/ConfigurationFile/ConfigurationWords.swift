// ConfigurationWords: the value of a key as words of a command line.

import TOMLText

enum ConfigurationWords {
  /// Why a value cannot be that of a key; nil if it can.
  static func fault(_ key: ConfigurationKey, _ value: TOMLValue) -> String? {
    guard hasType(key, value) else {
      let element = if case .array(let elements) = value, key.isRepeating || key.kind == .program {
        elements.first { !isElement(key, $0) }
      } else { nil as TOMLValue? }
      return "\(key.name): \(key.expected) is expected, not \(element.map { "\($0.kind) in it" } ?? value.kind)"
    }
    if key.kind == .workers, case .integer(let number) = value, !(1...WorkerCount.limit).contains(number) {
      return "workers: \(number) is not possible: give a number from 1 to \(WorkerCount.limit)"
    }
    let hasNUL = strings(value).contains { $0.utf8.contains(0) }
    return hasNUL ? "\(key.name): a text with a NUL cannot be an argument" : nil
  }

  /// The words for a value without a fault. An option and its value are one word, so that the value may begin with a dash.
  static func words(_ key: ConfigurationKey, _ value: TOMLValue) -> [String] {
    switch key.kind {
    case .workers: []
    case .program: strings(value)
    case .flag: value == .boolean(true) ? ["--\(key.name)"] : []
    case .integer, .string: strings(value).map { "--\(key.name)=\($0)" }
    }
  }

  /// The number of processes that the key `workers` asks for.
  ///
  /// - Parameter value: nil without the key.
  static func workers(_ value: TOMLValue?) -> Int {
    if case .integer(let number)? = value { return number }
    return WorkerCount.auto.value
  }

  private static func hasType(_ key: ConfigurationKey, _ value: TOMLValue) -> Bool {
    guard key.isRepeating || key.kind == .program else { return isElement(key, value) }
    if case .array(let elements) = value { return elements.allSatisfy { isElement(key, $0) } }
    return false
  }

  private static func isElement(_ key: ConfigurationKey, _ value: TOMLValue) -> Bool {
    switch (key.kind, value) {
    case (.flag, .boolean), (.integer, .integer), (.string, .string), (.program, .string), (.workers, .integer), (.workers, .string("auto")):
      true
    default: false
    }
  }

  private static func strings(_ value: TOMLValue) -> [String] {
    switch value {
    case .string(let text): [text]
    case .integer(let number): ["\(number)"]
    case .array(let elements): elements.flatMap { strings($0) }
    case .boolean, .fraction, .date: []
    }
  }
}
