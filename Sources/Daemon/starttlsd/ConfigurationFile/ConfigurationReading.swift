// ConfigurationReading: what a document means: the listeners with their command lines, and the faults.

import ArgumentParser
import Glibc
import TOMLText
import Transport

/// Something that is wrong in a file.
struct ConfigurationFault: Hashable {
  let line: Int
  /// The name of the listener; nil for what counts for all.
  let listener: String?
  let text: String
  let code: Int32

  var description: String { "line \(line)\(listener.map { ", listener \($0)" } ?? ""): \(text)" }
}

/// The meaning of a document.
struct ConfigurationReading {
  /// A listener and where its settings are.
  struct FileListener {
    let settings: ListenerSettings
    /// The line of its header.
    let line: Int
    /// The keys that count for it, in the order of `ConfigurationKey.all`.
    let entries: [(key: ConfigurationKey, entry: TOMLEntry)]
    /// Its addresses and sockets; nil if its settings cannot be used.
    var configuration: Configuration?
  }

  private(set) var listeners: [FileListener] = []
  /// In the order of the file.
  private(set) var faults: [ConfigurationFault] = []

  /// Reads and checks everything.
  init(_ document: TOMLDocument) {
    var general: [ConfigurationKey: TOMLEntry] = [:]
    var tables: [(name: String, table: TOMLTable)] = []
    for table in document.tables {
      if table.path.isEmpty {
        general = settings(table, of: nil)
      } else if let name = name(of: table) {
        tables.append((name, table))
      }
    }
    for (name, table) in tables {
      let own = settings(table, of: name)
      add(name, table, general.merging(own) { _, own in own })
    }
    if tables.isEmpty, faults.isEmpty { note(1, nil, "there is no listener: add a table [listener.NAME] with its addresses") }
    // Nothing of a file with a fault is used, so a fault in one key needs no others that follow from it.
    if faults.isEmpty {
      check()
      checkAddresses()
    }
    faults.sort { $0.line < $1.line }
  }

  private mutating func note(_ line: Int, _ listener: String?, _ text: String, code: Int32 = ExitCode.usage) {
    faults.append(ConfigurationFault(line: line, listener: listener, text: text, code: code))
  }

  // MARK: Tables and keys

  /// The name of the listener that a table describes; nil after a fault.
  private mutating func name(of table: TOMLTable) -> String? {
    let header = "[\(table.path.joined(separator: "."))]"
    guard table.path.count == 2, table.path[0] == "listener" else {
      note(table.position.line, nil, "\(header): the only tables are those of listeners, [listener.NAME]")
      return nil
    }
    let name = table.path[1]
    guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy({ Self.isNameLetter($0) }) else {
      note(table.position.line, nil, "\(header): the name of a listener has 1 to 64 letters, digits, '-' and '_'")
      return nil
    }
    return name
  }

  private static func isNameLetter(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  /// The keys of a table that are known and have a value of their type.
  private mutating func settings(_ table: TOMLTable, of listener: String?) -> [ConfigurationKey: TOMLEntry] {
    var settings: [ConfigurationKey: TOMLEntry] = [:]
    for entry in table.entries {
      let line = entry.position.line
      guard let key = ConfigurationKey.byName[entry.key] else {
        // The distance to each name takes time.
        note(line, listener, Self.unknown(entry.key, isCompared: faults.count < 20))
        continue
      }
      if listener == nil, key.isOfListener {
        note(line, nil, "\(key.name): each listener has its own addresses: move this line into a table [listener.NAME]")
        continue
      }
      if let text = ConfigurationWords.fault(key, entry.value) {
        note(line, listener, text)
        continue
      }
      settings[key] = entry
    }
    return settings
  }

  private static func unknown(_ name: String, isCompared: Bool) -> String {
    if ConfigurationKey.otherOptions.contains(name) {
      return "\(name): this option has no meaning in a file: give it on the command line, or remove it"
    }
    let nearest = isCompared ? NearestName.of(name, among: ConfigurationKey.byName.keys) : nil
    return "\(name) is not a key\(nearest.map { ": did you mean \($0)?" } ?? ": starttlsd config --defaults prints all keys")"
  }

  // MARK: Listeners

  private mutating func add(_ name: String, _ table: TOMLTable, _ settings: [ConfigurationKey: TOMLEntry]) {
    let entries = ConfigurationKey.all.compactMap { key in settings[key].map { (key: key, entry: $0) } }
    let hasAddress = entries.contains { key, entry in
      if key.isOfListener, case .array(let elements) = entry.value { !elements.isEmpty } else { false }
    }
    // The fault of a wrong value is enough.
    let isWrong = table.entries.contains { entry in
      if let key = ConfigurationKey.byName[entry.key] { key.isOfListener && settings[key] == nil } else { false }
    }
    if !hasAddress, !isWrong { note(table.position.line, name, "there is no address: add listen = [\"address:port\"], or listen-tls") }
    let options = entries.filter { $0.key.kind != .program }.flatMap { ConfigurationWords.words($0.key, $0.entry.value) }
    let program = entries.filter { $0.key.kind == .program }.flatMap { ConfigurationWords.words($0.key, $0.entry.value) }
    let workers = ConfigurationWords.workers(settings[.workers]?.value)
    listeners.append(
      FileListener(
        settings: ListenerSettings(name: name, arguments: options + (program.isEmpty ? [] : ["--"] + program), workers: workers),
        line: table.position.line, entries: entries))
  }

  /// Each command line is checked as at a start.
  private mutating func check() {
    for (index, listener) in listeners.enumerated() {
      do {
        let command = try StartTLSDaemon.parse(listener.settings.arguments)
        listeners[index].configuration = try command.checked(PassedDescriptors())
      } catch let error as ConfigurationError {
        note(Self.line(of: error.description, listener), listener.settings.name, error.description, code: error.code)
      } catch {
        let text = StartTLSDaemon.message(for: error)
        note(Self.line(of: text, listener), listener.settings.name, text)
      }
    }
  }

  /// The line of the first option that a message names; that of the header if it names none that the file sets.
  private static func line(of text: String, _ listener: FileListener) -> Int {
    let set = listener.entries.compactMap { key, entry in
      text.firstRange(of: "--\(key.name)").map { (start: $0.lowerBound, length: key.name.utf8.count, line: entry.position.line) }
    }
    return set.min { ($0.start, -$0.length) < ($1.start, -$1.length) }?.line ?? listener.line
  }

  /// Two listeners cannot have the same address or socket.
  private mutating func checkAddresses() {
    var owners: [String: String] = [:]
    for listener in listeners {
      var named: Set<String> = []
      for place in listener.places {
        let owner = owners.updateValue(listener.settings.name, forKey: "\(place.address)")
        // Once for each key: workers have a socket each.
        guard let owner, named.insert(place.key).inserted else { continue }
        let fault = owner == listener.settings.name ? "is named twice" : "is that of the listener \(owner) already"
        note(listener.line(of: place.key), listener.settings.name, "\(place.title) \(fault): choose another")
      }
    }
  }
}

extension ConfigurationReading.FileListener {
  /// Where it binds a socket, and the key that names it.
  fileprivate var places: [(address: SocketAddress, title: String, key: String)] {
    guard let configuration else { return [] }
    var places = configuration.listeners.filter { $0.address.port != 0 }.map { (address: $0.address, title: "\($0.address)", key: "\($0.address)") }
    if let path = configuration.statusSocket {
      let paths = StatusCommand.paths(path, workers: settings.workers)
      places += paths.map { (.unix($0), "the status socket \($0)", "status-socket") }
    }
    if let address = configuration.metrics, address.port != 0 { places.append((address, "the metrics socket \(address)", "metrics")) }
    return places
  }

  /// The line of a key in its table, or that of the header.
  fileprivate func line(of key: String) -> Int {
    let own = entries.first { $0.key.name == key }?.entry.position.line ?? 0
    return max(own, line)
  }
}
