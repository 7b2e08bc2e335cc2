// Supervisor: runs several listeners, each in processes of its own.

import Transport

enum Supervisor {
  static func run(_ listeners: [ListenerSettings], reading: (() throws -> [ListenerSettings])? = nil) throws {
    throw ConfigurationError.usage("the file has \(listeners.count) listeners: only one can be served")
  }
}
