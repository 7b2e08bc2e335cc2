// EmbeddedDefault: the configuration without certificate and backend: a self-signed certificate and maildir-smtpd, for
// a first test.

import Glibc
import Transport
import TransportTLS

enum EmbeddedDefault {
  /// The folder of the certificate and the Maildir: `$XDG_STATE_HOME/starttlsd`, or `~/.local/state/starttlsd`.
  static func stateFolder() throws(ConfigurationError) -> String {
    if let folder = variable("XDG_STATE_HOME"), folder.hasPrefix("/") { return folder + "/starttlsd" }
    if let home = variable("HOME"), home.hasPrefix("/") { return home + "/.local/state/starttlsd" }
    throw .usage("HOME is not set: name a folder for the certificate and the mail with --state-folder")
  }

  /// Creates the self-signed pair of files in the state folder if it is missing, in a process of its own.
  static func makeCertificate(in folder: String) throws(ConfigurationError) {
    _ = try SeparateProcess.lines { () throws(ConfigurationError) in
      do {
        try makeFolders(folder)
        _ = try SelfSigned.pair(in: folder, names: names())
        return []
      } catch {
        throw unusable(folder, error)
      }
    }
  }

  /// True if a start would use the pair of files as it is. It reads the key: call it in a process of its own.
  static func hasCertificate(in folder: String) throws(ConfigurationError) -> Bool {
    do {
      return try SelfSigned.isUsable(in: folder, names: names())
    } catch {
      throw unusable(folder, error)
    }
  }

  private static func unusable(_ folder: String, _ error: any Error) -> ConfigurationError {
    .system("cannot use the self-signed certificate in \(folder): \(error)")
  }

  /// The command line of maildir-smtpd, which is installed in the same folder as this program.
  static func backend(maildir: String) throws(ConfigurationError) -> [String] {
    let own = ownPath()
    let program = own.prefix(upTo: own.lastIndex(of: "/") ?? own.endIndex) + "/maildir-smtpd"
    guard access(String(program), X_OK) == 0 else {
      throw .usage("\(program) is missing: install it in the folder of starttlsd, or name a server program after --")
    }
    let domains = names().flatMap { ["--domain", $0] }
    return [String(program), "--hostname", hostName()] + domains + [maildir]
  }

  static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  /// This host's names: those in the certificate, and the domains whose mail is accepted.
  private static func names() -> [String] { [hostName(), "localhost"].uniqued() }

  private static func hostName() -> String {
    var octets = [CChar](repeating: 0, count: 256)
    guard gethostname(&octets, 255) == 0 else { return "localhost" }
    let name = String(decoding: octets.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return isDomain(name) ? name : "localhost"
  }

  /// True if a name consists of labels as in RFC 5321, 4.1.2: maildir-smtpd accepts only such names as domains.
  private static func isDomain(_ name: String) -> Bool {
    let hyphen = UInt8(ascii: "-")
    return name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
      (1...63).contains(label.count) && label.first != hyphen && label.last != hyphen
        && label.allSatisfy { octet in
          (0x30...0x39).contains(octet) || (0x41...0x5A).contains(octet) || (0x61...0x7A).contains(octet) || octet == hyphen
        }
    }
  }

  private static func ownPath() -> String {
    var octets = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &octets, octets.count)
    guard count > 0 else { return CommandLine.arguments.first ?? "" }
    return String(decoding: octets.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Creates a folder and its parents, accessible to the user only.
  private static func makeFolders(_ path: String) throws(SystemError) {
    var made = ""
    for part in path.split(separator: "/") {
      made += "/" + part
      if mkdir(made, 0o700) != 0 && errno != EEXIST { throw SystemError("mkdir \(made)", errno) }
    }
  }
}

extension Array where Element: Hashable {
  fileprivate func uniqued() -> [Element] {
    var seen: Set<Element> = []
    return filter { seen.insert($0).inserted }
  }
}
