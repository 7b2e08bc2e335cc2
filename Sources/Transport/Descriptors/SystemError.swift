// SystemError: a failed system call, as a typed error.

import Glibc

/// A system call that failed: its name and its `errno`.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The call's name, for example `accept4`.
  public let call: String
  /// The `errno`, see errno(3).
  public let code: CInt

  /// Creates an error of that call with that `errno`.
  public init(_ call: String, _ code: CInt) {
    self.call = call
    self.code = code
  }

  /// Creates an error from the `errno` of the call just made.
  public static func last(_ call: String) -> SystemError {
    SystemError(call, errno)
  }

  /// `accept4: Too many open files`
  public var description: String {
    "\(call): \(String(cString: strerror(code)))"
  }
}
