// ProcessEnvironment: this process's own variables, of which the program that it becomes is not to see all.
//
// Only for a process of one thread. Nothing here allocates memory for the variables that stay.

import Glibc

/// The environment of this process.
public enum ProcessEnvironment {
  /// One variable, `NAME=value`.
  public struct Variable {
    fileprivate let text: UnsafePointer<CChar>

    /// Whether it has this name.
    public func isNamed(_ name: StaticString) -> Bool {
      hasPrefix(name) && text[name.utf8CodeUnitCount] == CChar(bitPattern: UInt8(ascii: "="))
    }

    /// Whether its name begins so.
    public func hasPrefix(_ prefix: StaticString) -> Bool {
      strncmp(text, prefix.characters, prefix.utf8CodeUnitCount) == 0
    }
  }

  /// The value of a variable; nil where it is not set.
  public static func value(_ name: String) -> String? {
    name.withCString { getenv($0) }.map { String(cString: $0) }
  }

  /// The same, as it stands in the environment, for a name that is known in advance.
  public static func characters(_ name: StaticString) -> UnsafePointer<CChar>? {
    UnsafePointer(getenv(name.characters))
  }

  /// Removes the variables that are chosen, each as often as it is there.
  public static func remove(_ isChosen: (Variable) -> Bool) {
    var entry = environ
    var kept = environ
    while let text = entry.pointee {
      if !isChosen(Variable(text: text)) {
        kept.pointee = text
        kept += 1
      }
      entry += 1
    }
    kept.pointee = nil
  }
}

extension StaticString {
  /// The octets as a C string, which a literal always is.
  package var characters: UnsafePointer<CChar> {
    UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
  }
}
