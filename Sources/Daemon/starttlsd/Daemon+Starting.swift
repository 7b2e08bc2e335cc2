// Starts a process of the server program: by the starter, or as a child if there is none (--inetd).

import Glibc
import Transport

extension Daemon {
  /// Starts the program.
  ///
  /// - Parameters:
  ///   - variables: those of the session, `NAME=value`.
  ///   - peer: the client whose address counts the process if it stays; nil for a process that no session uses yet.
  ///   - session: for messages about the process.
  ///   - process: is set to the process.
  /// - Returns: the connection to its standard input and output. With the starter the start may still fail: then the connection
  ///   ends.
  func startProgram(
    _ variables: [String], for peer: SocketAddress?, session: String, _ process: inout BackendProcess?
  ) throws(SystemError) -> Descriptor {
    guard case .program(let arguments, let inherited) = configuration.backend else { throw SystemError("execve", ENOENT) }
    return try DescriptorPair.sockets().takeFirst { (other) throws(SystemError) in
      let child: any BackendChild
      if let starter {
        child = try starter.start(variables, standardStreams: other, isNumberWanted: peer == nil)
      } else {
        child = OwnChild(
          try ChildProcess(
            arguments, environment: Environment.adding(variables, to: inherited), standardStreams: other,
            limit: admission.limits.inherited))
      }
      let started = try BackendProcess(self, for: peer, child)
      started.session = session
      process = started
      self.started(started)
    }
  }
}
