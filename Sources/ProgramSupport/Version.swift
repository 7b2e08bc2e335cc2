// Version: the one place where the version stands.
//
// The programs print it, Scripts/version reads it from this file for the C library's pkg-config file, and a test compares
// the manual pages with it.

/// The version of everything in this package.
public enum Version {
  /// As in a release's name, for example `1.2.3`.
  public static let text: StaticString = "0.1.0"
}
