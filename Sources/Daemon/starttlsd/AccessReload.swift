// AccessReload: reads the access rules again while sessions run. All or nothing: a file with an error changes nothing.
//
// The rules count for clients that connect from then on. The thread of the event loop reads the file.

import ClientAccess
import Logging

extension Daemon {
  /// Called at the start, and after each reload.
  func warnOfRules() {
    guard let file = configuration.accessFile, let rules = addresses.rules else { return }
    if let unused = rules.unused {
      log.warning(
        """
        \(file.path): \(unused.count) rules match no client, the first one: '\(unused.first)': names are not looked up \
        (=name, info@address), and a prefix ends with a dot or a colon
        """)
    }
    if rules.isSetForEveryone("RELAYCLIENT") {
      log.warning("\(file.path): the rule for all other clients sets RELAYCLIENT: they may relay")
    }
  }

  /// SIGHUP was received.
  func reloadRules() {
    guard let file = configuration.accessFile else { return }
    do throws(AccessRulesError) {
      let rules = try file.load(isReserved: Environment.isReservedInRules)
      if let name = unknownName(rules) {
        return log.error(
          """
          SIGHUP: the access rules stay as they were: \(file.path) sets \(name), which no rule set at the start, and the process that \
          starts the server program accepts no other variables: start starttlsd again
          """)
      }
      addresses.rules = rules
      log.notice("SIGHUP: \(rules.count) access rules are loaded from \(file.path)")
      warnOfRules()
    } catch {
      log.error("SIGHUP: the access rules stay as they were: \(error)")
    }
  }

  /// A variable that the starter does not accept; nil if there is none, or no starter.
  private func unknownName(_ rules: AccessRules) -> String? {
    guard starter != nil else { return nil }
    return rules.names.subtracting(configuration.accessRules?.names ?? []).min()
  }
}
