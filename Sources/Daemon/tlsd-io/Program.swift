// Program: tlsd-io from its arguments to its exit code.
//
// Order: take the channels, read the keys, drop privileges, create the session, handshake, report, relay. Before the
// handshake no octet of the client is read. Every end closes the channels; an end before the report closes them without
// an octet. With --listen the keys are read once, and each session has a process that begins with its channels, see Engine.

import Glibc
import ProgramSupport
import Transport
import TransportTLS

/// The program.
enum Program {
  static let name = Options.text.name

  /// Runs the program.
  static func run(count: CInt, arguments: CommandLineOption.Arguments) -> ExitCode {
    // On failure standard error may be the client's connection: no text is written.
    guard (try? StandardStreams.prepare(for: .connection)) != nil else { return .system }
    var options = Options()
    let answer = Options.text.answer { () throws(CommandLineError) in
      options = try Options(count: count, arguments: arguments)
      return options.purpose
    }
    if let answer { return ExitCode(rawValue: answer) ?? .system }
    // A write to a channel without a reader then fails with EPIPE.
    signal(SIGPIPE, SIG_IGN)
    do throws(Failure) {
      if let path = options.listening { try Engine.run(options, at: path) }
      try ServerProgram.start(&options)
      try serve(options)
      return .done
    } catch {
      if options.helper.verbosity >= 1 { StandardStreams.complain(name, error.description) }
      return error.code
    }
  }

  private static func serve(_ options: Options) throws(Failure) {
    let program = try channels(options)
    let priorities = try priorities(options.helper)
    let credentials = try Certificates.load(options.helper)
    try Privileges.drop()
    warn(credentials, options.helper)
    try serve(program, credentials, priorities, options.helper)
  }

  /// Takes the channels to the server program.
  static func channels(_ options: Options) throws(Failure) -> ProgramSide {
    do throws(SystemError) {
      try StandardStreams.check()
      return try ProgramSide.take(options)
    } catch {
      throw Failure("descriptors", error)
    }
  }

  /// Serves the client on standard input and output.
  static func serve(
    _ program: consuming ProgramSide, _ credentials: TLSCredentials, _ priorities: TLSPriorities, _ options: TLSHelperOptions
  ) throws(Failure) {
    let stream = try session(credentials, priorities, options)
    try tunnel(stream, program, options)
  }

  /// Logs what the operator should change.
  static func warn(_ credentials: TLSCredentials, _ options: TLSHelperOptions) {
    guard options.verbosity >= 1 else { return }
    for served in credentials.served where served.validUntil <= time(nil) {
      StandardStreams.complain(name, "warning: \(TLSCredentialsError.expired(path: served.path, at: served.validUntil))")
    }
    for warning in credentials.warnings { StandardStreams.complain(name, "warning: \(warning)") }
  }

  /// The parsed priorities.
  static func priorities(_ options: TLSHelperOptions) throws(Failure) -> TLSPriorities {
    do throws(TLSCredentialsError) {
      return try TLSPriorities(options.profile, groups: options.groupNames)
    } catch {
      throw Failure(.usage, error.description)
    }
  }

  private static func session(
    _ credentials: TLSCredentials, _ priorities: TLSPriorities, _ options: TLSHelperOptions
  ) throws(Failure) -> GnuTLSStream {
    let stream: GnuTLSStream
    do throws(TLSCredentialsError) {
      stream = try GnuTLSStream(credentials, priorities)
    } catch {
      throw Failure(.setUp, error.description)
    }
    stream.sendsCloseNotify = options.sendsCloseNotify
    do throws(SystemError) {
      let input = try OctetStream(Descriptor(adopting: STDIN_FILENO))
      let output = try OctetStream(Descriptor(adopting: STDOUT_FILENO))
      // Small records must not wait for the client's acknowledgement. Sockets other than TCP have no such delay.
      if output.kind == .socket { try? output.descriptor.sendWithoutDelay() }
      stream.attach(reading: input, writing: output)
    } catch {
      throw Failure("standard input and output", error)
    }
    return stream
  }

  private static func tunnel(
    _ stream: GnuTLSStream, _ program: consuming ProgramSide, _ options: TLSHelperOptions
  ) throws(Failure) {
    var program = program
    let session = options.sessionTimeoutMilliseconds ?? TLSHelperOptions.defaultSessionMilliseconds
    let deadline = session == 0 ? nil : Clock.now() + session
    do throws(Failure) {
      let limit = options.handshakeTimeoutMilliseconds ?? Handshake.defaultMilliseconds
      try Handshake.perform(stream, for: program, within: limit)
      try report(stream, &program, options)
    } catch {
      // The server program sees the end at once; the client gets time to read the alert.
      _ = consume program
      Linger.run(stream)
      throw error
    }
    let relay = Relay(
      stream, program, requiresCloseNotify: options.requiresCloseNotify, until: deadline,
      endTimeoutMilliseconds: options.endTimeoutMilliseconds ?? TLSHelperOptions.defaultEndMilliseconds)
    try relay.run()
  }

  private static func report(
    _ stream: GnuTLSStream, _ program: inout ProgramSide, _ options: TLSHelperOptions
  ) throws(Failure) {
    if options.verbosity >= 2 {
      let name = stream.facts.serverName.map { " for \($0)" } ?? ""
      let ignored = stream.facts.ignoredServerName.map { ", server name \(SessionLine.quoted($0)) ignored" } ?? ""
      let group = stream.facts.group.map { " \($0)" } ?? ""
      let client = stream.facts.client.map { ", " + $0.fields.map(\.logfmt).joined(separator: " ") } ?? ""
      StandardStreams.complain(Program.name, "\(stream.facts.version) \(stream.facts.cipher)\(group)\(name)\(ignored)\(client)")
    }
    do throws(SystemError) {
      guard let octets = Handshake.report(stream).octets else { throw SystemError("report", EMSGSIZE) }
      try program.report(octets, by: Clock.now() + Handshake.defaultMilliseconds)
    } catch {
      throw Failure("notification", error)
    }
  }
}
