// SpareOptions: the option for processes of the server program that are started before a client needs them. Failure: a
// ConfigurationError.

import ArgumentParser
import ClientAccess

struct SpareOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      Processes of the program to keep started and past their greeting, for a program that greets slowly. Needs --backend-client \
      none: they get no variable of a session.
      """, valueName: "number"))
  var spareBackends = 0

  /// The most processes.
  private static let limit = 1_000

  /// The checked settings; nil without spare processes.
  ///
  /// - Parameters:
  ///   - path: the program's file; nil without a program.
  ///   - isUnnamed: true if the operator has stated that the program is not given the client's address.
  ///   - rules: the access rules.
  ///   - backendsLimit: --max-backends.
  ///   - workers: how many processes serve.
  func settings(
    path: String?, isUnnamed: Bool, isSingle: Bool, rules: AccessRules?, backendsLimit: Int?, workers: Int
  ) throws(ConfigurationError) -> SpareSettings? {
    guard (0...SpareOptions.limit).contains(spareBackends) else {
      throw .usage("--spare-backends \(spareBackends): give a number from 0 to \(SpareOptions.limit); 0 means none")
    }
    guard spareBackends > 0 else { return nil }
    guard let path else { throw .usage("--spare-backends cannot be used with --backend: no program is started there; remove one") }
    guard !isSingle else { throw .usage("--spare-backends cannot be used with --inetd, which serves one client: remove one") }
    guard isUnnamed else {
      throw .usage(
        """
        --spare-backends needs --backend-client none: a spare process is started before its client is known, so it gets neither the client's \
        address nor SSL_* variables; give it only if the program treats every client as a stranger
        """)
    }
    if let name = rules?.nameOfSetting {
      throw .usage("--spare-backends cannot be used with access rules that set variables, such as \(name): no spare process could get them; remove one")
    }
    let number = WorkerRole.part(of: spareBackends, workers: workers)
    let least = (number + 2) * workers
    if let backendsLimit, backendsLimit < least {
      throw .usage(
        "--spare-backends \(spareBackends) needs --max-backends \(least) or more: spare processes count, and a session may need two more")
    }
    return SpareSettings(number: number, path: path)
  }
}

struct SpareSettings {
  /// How many processes to keep ready, at least 1; of a worker, its part.
  let number: Int
  /// The program's file.
  let path: String
}

extension AccessRules {
  /// The name of a variable that a rule sets for the program; nil if none does.
  var nameOfSetting: String? {
    settings.map { String(decoding: $0.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self) }.min()
  }
}
