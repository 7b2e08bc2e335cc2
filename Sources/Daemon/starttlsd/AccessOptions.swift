// AccessOptions: the option for access rules.

import ArgumentParser
import ClientAccess

struct AccessOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Access rules: a cdb file of tcprules, or the same rules as text; read again on SIGHUP.", valueName: "file"))
  var access: String?

  /// The file and its rules; nil without rules.
  func rules() throws(ConfigurationError) -> (file: AccessFile, rules: AccessRules)? {
    guard let access else { return nil }
    let file = AccessFile(path: access)
    do throws(AccessRulesError) {
      return (file, try file.load(isReserved: Environment.isReservedInRules))
    } catch {
      throw .usage("--access \(error)")
    }
  }
}
