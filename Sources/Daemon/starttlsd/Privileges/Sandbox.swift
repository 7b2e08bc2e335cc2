// Sandbox: what the process that serves strangers gives up before it accepts the first one.
//
//   Landlock   all files, except reading /dev/null and, without a supervisor, removing the sockets of --status-socket and --metrics; TCP
//              connections, except to the ports of --backend; signals to other processes
//   seccomp    all system calls but those that serving needs: no execve, no fork, no ptrace, no socket of another family, no
//              memory that can be executed
//
// It is possible because this process starts no program itself: the starter does, or the servers are reached by an address. The
// starter is not in it, so that the program inherits nothing of it. Where the kernel lacks one of the two, the other is in
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
    let servers = configuration.backend.servers
    var parts: [String] = []
    do throws(SystemError) {
      // Before the filter, which has no call of Landlock.
      parts.append(hasLandlock ? try Sandbox.leaveFileSystem(configuration, servers) : "no Landlock (--no-landlock)")
      parts.append(hasFilter ? try Sandbox.filter(connects: servers != nil) : "no seccomp (--no-seccomp)")
    } catch {
      throw .system("the sandbox is not possible: \(error); --no-landlock and --no-seccomp do without it")
    }
    return "sandbox: " + parts.joined(separator: ", ")
  }

  private static func filter(connects: Bool) throws(SystemError) -> String {
    switch kernel_confine_to_serving(connects) {
    case 1: return "seccomp"
    case 0: return "no seccomp, which this kernel lacks"
    default: throw .last("seccomp")
    }
  }

  private static func leaveFileSystem(_ configuration: Configuration, _ servers: BackendServers?) throws(SystemError) -> String {
    // The sockets of a worker are removed by its supervisor.
    let removesSockets = configuration.supervision.worker == nil
    var paths = removesSockets ? [configuration.statusSocket].compactMap { $0 } : []
    if removesSockets, case .unix(let path) = configuration.metrics { paths.append(path) }
    let folders = paths.map { path in strdup(folder(of: path)) }
    defer { for folder in folders { free(folder) } }
    let ports = (servers?.addresses ?? []).compactMap(\.port)
    var isTransparent = false
    if case .transparent = servers?.client { isTransparent = true }
    let version = folders.map { UnsafePointer($0!) }.withUnsafeBufferPointer { folders in
      ports.withUnsafeBufferPointer { ports in
        var setting = kernel_landlock()
        setting.folders = folders.baseAddress
        setting.folders_count = folders.count
        setting.ports = ports.baseAddress
        setting.ports_count = ports.count
        setting.binds = isTransparent
        return kernel_leave_file_system(&setting)
      }
    }
    guard version >= 0 else { throw .last("landlock") }
    return version > 0 ? "Landlock \(version)" : "no Landlock, which this kernel lacks"
  }

  private static func folder(of path: String) -> String {
    guard let end = path.lastIndex(of: "/") else { return "." }
    return end == path.startIndex ? "/" : String(path[..<end])
  }
}
