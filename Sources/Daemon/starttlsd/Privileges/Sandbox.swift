// Sandbox: what the process that serves strangers gives up before it accepts the first one.
//
//   Landlock   all files, except reading /dev/null and, without a supervisor, removing its Unix sockets; TCP
//              connections; signals to other processes; abstract Unix sockets
//   seccomp    all system calls but those that serving needs: no execve, no fork, no ptrace, no socket, no connect, no memory that can be
//              executed
//
// It is possible because this process starts no program itself and makes no connection: the starter does, or the connector. The
// starter is not in it, so that the program inherits nothing of it. The connector has one of its own: it may make sockets, and of TCP
// connections those to the ports of --backend. Where the kernel lacks one of the two, the other is in
// force, and the log states it.
//
// Failure: a ConfigurationError. A sandbox that was asked for and cannot be entered ends the program.

import CKernel
import Glibc
import Transport

struct Sandbox: Sendable {
  /// The parts that are wanted.
  var hasFilter: Bool
  var hasLandlock: Bool

  /// Enters it.
  ///
  /// - Returns: for the log, what is in force.
  func enter(_ configuration: Configuration) throws(ConfigurationError) -> String {
    var parts: [String] = []
    do throws(SystemError) {
      // Before the filter, which has no call of Landlock.
      parts.append(hasLandlock ? try Sandbox.leaveFileSystem(configuration) : "no Landlock (--no-landlock)")
      parts.append(hasFilter ? try Sandbox.inForce(filter: kernel_confine_to_serving()) : "no seccomp (--no-seccomp)")
    } catch {
      throw .system("the sandbox is not possible: \(error); --no-landlock and --no-seccomp switch it off")
    }
    return "sandbox: " + parts.joined(separator: ", ")
  }

  /// Enters that of the process which connects to the servers.
  func enterConnector(_ servers: BackendServers) throws(SystemError) {
    if hasLandlock {
      var isTransparent = false
      if case .transparent = servers.client { isTransparent = true }
      _ = try Sandbox.leaveFileSystem(ports: servers.addresses.compactMap(\.port), binds: isTransparent)
    }
    if hasFilter { _ = try Sandbox.inForce(filter: kernel_confine_to_connecting()) }
  }

  private static func inForce(filter: CInt) throws(SystemError) -> String {
    switch filter {
    case 1: return "seccomp"
    case 0: return "no seccomp, which this kernel lacks"
    default: throw .last("seccomp")
    }
  }

  private static func leaveFileSystem(_ configuration: Configuration) throws(SystemError) -> String {
    // The sockets of a worker are removed by its supervisor.
    let removesSockets = configuration.passedDescriptors.worker == nil
    var paths = removesSockets ? [configuration.statusSocket].compactMap { $0 } : []
    let addresses = configuration.listeners.map(\.address) + [configuration.metrics].compactMap(\.self)
    for address in addresses where removesSockets {
      if case .unix(let path) = address { paths.append(path) }
    }
    let version = try leaveFileSystem(removingIn: paths.map(folder))
    return version > 0 ? "Landlock \(version)" : "no Landlock, which this kernel lacks"
  }

  /// - Returns: the version of Landlock; 0 for none.
  private static func leaveFileSystem(removingIn names: [String] = [], ports: [UInt16] = [], binds: Bool = false) throws(SystemError) -> CInt {
    let folders = names.map { name in strdup(name) }
    defer { for folder in folders { free(folder) } }
    let version = folders.map { UnsafePointer($0!) }.withUnsafeBufferPointer { folders in
      ports.withUnsafeBufferPointer { ports in
        var setting = kernel_landlock()
        setting.folders = folders.baseAddress
        setting.folders_count = folders.count
        setting.ports = ports.baseAddress
        setting.ports_count = ports.count
        setting.binds = binds
        return kernel_leave_file_system(&setting)
      }
    }
    guard version >= 0 else { throw .last("landlock") }
    return version
  }

  private static func folder(of path: String) -> String {
    guard let end = path.lastIndex(of: "/") else { return "." }
    return end == path.startIndex ? "/" : String(path[..<end])
  }
}
