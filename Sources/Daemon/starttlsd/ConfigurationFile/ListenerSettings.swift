// ListenerSettings: a named listener of a configuration file, as a command line of starttlsd.

/// One listener: it is served by processes of its own, each started with these arguments.
struct ListenerSettings: Sendable, Equatable {
  /// Unique in its file, for the log and for messages.
  var name: String
  /// A command line of starttlsd, without the program's name.
  var arguments: [String]
  /// The number of processes that serve it, at least 1.
  var workers: Int
}
