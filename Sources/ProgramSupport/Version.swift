// Version: the only place where the version is stored.
//
// The programs print it. Scripts/version reads it from this file for the C library's pkg-config file. A test compares
// the manual pages with it.

/// The version of everything in this package.
public enum Version {
  /// The format is that of a release name, for example `1.2.3`.
  public static let text: StaticString = "0.1.0"
}
