// SystemError: a failed call to the kernel, as a typed error.

import Glibc

/// A call to the kernel that failed: its name and the `errno` that it left.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The call's name, for example `accept4`.
  public let call: String
  /// The `errno`, see errno(3).
  public let code: CInt

  /// An error of that call with that `errno`.
  public init(_ call: String, _ code: CInt) {
    self.call = call
    self.code = code
  }

  /// The error that the call just made left in `errno`.
  public static func last(_ call: String) -> SystemError {
    SystemError(call, errno)
  }

  /// `accept4: Too many open files`
  public var description: String {
    "\(call): \(String(cString: strerror(code)))"
  }
}
