// ConfigurationOptions: --config, and the start from a file.

import ArgumentParser
import Transport

struct ConfigurationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Take all settings from this file, which may describe several listeners; see starttlsd.conf(5).", valueName: "file"))
  var config: String?

  /// The only options of a command line with --config.
  private struct Alone: ParsableArguments {
    @OptionGroup var file: ConfigurationOptions
    @OptionGroup var serviceManager: ServiceManagerOptions
  }

  /// Throws if a command line with --config has options that belong into the file.
  func refuseOthers(_ arguments: [String]) throws(ConfigurationError) {
    guard config != nil else { return }
    do {
      let alone = try Alone.parse(arguments)
      guard !alone.serviceManager.inetd else { throw ConfigurationError.usage("--config cannot be used with --inetd: remove one") }
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw .usage("with --config, all other settings are in the file: \(Alone.message(for: error))")
    }
  }

  /// The listeners of the file.
  ///
  /// - Parameter serviceManager: what the command line says about the start, for the first listener.
  static func listeners(_ path: String, _ serviceManager: ServiceManagerOptions) throws(ConfigurationError) -> [ListenerSettings] {
    var listeners = try ConfigurationFile(path: path).listeners()
    if let number = serviceManager.notificationDescriptor { listeners[0].arguments.insert("--notification-fd=\(number)", at: 0) }
    return listeners
  }

  /// Runs the listeners of the file, with a supervisor that reads it again on SIGHUP.
  static func run(_ path: String, _ serviceManager: ServiceManagerOptions) throws {
    let reading = { try Self.listeners(path, serviceManager) }
    // After a take-over the listeners are those of the program before, whatever the file has become.
    try Supervisor.run(SupervisorState.isPassed ? [] : reading(), reading: reading)
  }
}
