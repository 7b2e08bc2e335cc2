// Supervisor: runs several listeners, each in processes of its own. This build has none: it refuses them.

import Transport

enum Supervisor {
  /// Runs listeners until a signal stops them.
  static func run(_ listeners: [ListenerSettings], reading: (() throws -> [ListenerSettings])? = nil) throws {
    throw ConfigurationError.usage("several listeners or workers need a supervisor, which this starttlsd does not have: use one file for each listener")
  }
}
