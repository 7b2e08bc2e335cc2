// AccessReload: reads the access rules again while sessions run. All or nothing: a file with an error changes nothing.
//
// The rules count for clients that connect from then on. The process that reads the certificates reads the file as well,
// because this process may not have the right to.

import ClientAccess
import Logging
import Transport

extension AccessFile {
  /// For the operator: what of these rules has no effect, or lets everybody relay.
  ///
  /// - Parameter hasProgram: false if no program could get the variables of rules.
  func warnings(_ rules: AccessRules, hasProgram: Bool) -> [String] {
    var warnings: [String] = []
    if let unused = rules.unused {
      warnings.append(
        """
        \(path): \(unused.count) rules match no client, the first one: '\(unused.first)': names are not looked up \
        (=name, info@address), a prefix ends with a dot or a colon, and networks with a slash are rules in a text file only
        """)
    }
    if !hasProgram, !rules.settings.isEmpty {
      warnings.append("\(path): the variables of its rules have no effect: there is no program that could get them (--backend)")
    } else if rules.isSetForEveryone("RELAYCLIENT") {
      warnings.append("\(path): the rule for all other clients sets RELAYCLIENT: they may relay")
    }
    return warnings
  }
}

extension Daemon {
  /// Called at the start, and after each reload.
  func warnOfRules() {
    guard let file = configuration.accessFile, let rules = addresses.rules else { return }
    for warning in file.warnings(rules, hasProgram: configuration.backend.servers == nil) { log.warning("\(warning)") }
  }

  /// After SIGHUP the file has been read again.
  ///
  /// - Parameter open: what was read, or why it could not be read.
  func reloadRules(_ open: @escaping () throws(SystemError) -> Descriptor) {
    guard let file = configuration.accessFile else { return }
    do throws(AccessRulesError) {
      let rules = try file.load(isReserved: Environment.isReservedInRules, open: open)
      if configuration.spares != nil, let name = rules.nameOfSetting {
        return log.error("SIGHUP: the access rules stay as they were: \(file.path) sets \(name), which no spare process could get (--spare-backends)")
      }
      if let setting = unknownSetting(rules) {
        return log.error(
          """
          SIGHUP: the access rules stay as they were: \(file.path) sets \(setting) to a value that no rule set at the start, and the process \
          that starts the server program accepts no other variables: start starttlsd again
          """)
      }
      addresses.rules = rules
      log.notice("SIGHUP: \(rules.count) access rules are loaded from \(file.path)")
      warnOfRules()
    } catch {
      log.error("SIGHUP: the access rules stay as they were: \(error)")
    }
  }

  /// The name of a variable that the starter does not accept; nil if there is none, or no starter. Other starters have the names from
  /// the process that reads the files.
  private func unknownSetting(_ rules: AccessRules) -> String? {
    guard starter != nil, configuration.privileges.needsStarter else { return nil }
    let known = RuleVariables(configuration)
    guard let setting = rules.settings.first(where: { !known.contain($0) }) else { return nil }
    return String(decoding: setting.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self)
  }
}
