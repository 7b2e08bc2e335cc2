// RigHost: a driver's host as the programs are one: that of starttls-proxy with a helper, that of starttlsd with the
// engine. It starts scripted servers in place of processes.

import Glibc
import SMTPState
import Transport
import TransportTLS

/// The host of one session.
final class RigHost: LearntServerHost {
  private let scenario: Scenario
  private let credentials: TLSCredentials?
  /// The channels to the helper, where there is one.
  private let channels: UCSPIStream?
  /// Built before the 220.
  private var prepared: GnuTLSStream?
  private var isHelperGone = false

  private(set) var servers: [ScriptedServer] = []
  private(set) var handoffs = 0
  private(set) var aborts: [Reason] = []
  /// What a driver must not do to its host.
  private(set) var complaint: String?

  init(_ scenario: Scenario, _ credentials: TLSCredentials?, _ channels: UCSPIStream?) {
    self.scenario = scenario
    self.credentials = credentials
    self.channels = channels
  }

  /// The control socket, as long as the helper's end must be noticed.
  var watchedControl: CInt? {
    handoffs == 0 && aborts.isEmpty && !isHelperGone ? channels?.controlNumber : nil
  }

  /// A socket to a server that has just been started.
  func openServer(index: Int? = nil) throws(SystemError) -> Descriptor {
    let index = index ?? servers.count
    let (driverEnd, serverEnd) = try Kernel.socketPair()
    if let size = scenario.bufferOctets { Connections.limitBuffers(of: [driverEnd, serverEnd], to: size) }
    let manners = scenario.servers[min(index, scenario.servers.count - 1)]
    let server = ScriptedServer(FarEnd(socket: serverEnd), index: index, manners)
    server.end.cut = scenario.serverCut
    servers.append(server)
    return Descriptor(adopting: driverEnd)
  }

  /// The session has ended: nothing of it stays.
  func release() {
    prepared = nil
    channels?.abandon()
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool {
    if let channels {
      if !channels.isHelperWaiting { isHelperGone = true }
      return !isHelperGone
    }
    guard prepared == nil, let credentials else { return prepared != nil }
    prepared = try? GnuTLSStream(credentials)
    return prepared != nil
  }

  func handoff(_ proof: Handoff, _ client: consuming PlaintextClient) -> any TLSStream {
    handoffs += 1
    if let channels {
      var client = client
      // As the proxy: what cannot be made blocking goes to the helper as it is.
      _ = try? client.clearNonBlockingForHandoff()
      _ = consume client
      return channels
    }
    guard let stream = prepared.take(), let socket = client.takeSocket() else { return FailingTLSStream() }
    stream.attach(socket)
    return stream
  }

  func abort(_ proof: Reason) {
    aborts.append(proof)
    prepared = nil
    channels?.abandon()
  }

  func endServer() {}

  func restart(_ facts: TLSFacts) -> ServerStart {
    if let old = servers.last {
      _ = old.end.step()
      if !old.end.hasEnded { complaint = "the server that received clear text is still there" }
    }
    do throws(SystemError) {
      // After what was learnt it may be the first one that is started.
      return .started(try openServer(index: max(1, servers.count)))
    } catch {
      return .failed("the backend cannot be started: \(error)")
    }
  }

  // MARK: LearntServerHost

  /// How often a server did not send what was learnt.
  private(set) var differences = 0

  func startServer() -> ServerStart {
    if !servers.isEmpty { complaint = "a server was started twice" }
    do throws(SystemError) {
      return .started(try openServer())
    } catch {
      return .failed("the backend cannot be started: \(error)")
    }
  }

  func learntServerDiffers() { differences += 1 }
}
