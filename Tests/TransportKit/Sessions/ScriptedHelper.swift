// ScriptedHelper: a UCSPI-TLS helper beside the session, with a connection to the client of its own.
//
// It does what a helper does with its descriptors and leaves out the cryptography: a fixed greeting stands for the
// handshake, and octets pass as they are. So the session is whole, and everything that can be seen of it is.

import Glibc

/// The far ends of a driver's channels to a helper.
final class ScriptedHelper {
  /// What a client sends and receives in place of a handshake: a TLS record by its first octet.
  static let hello = Array("\u{16}hello".utf8)

  /// What came on the control socket before its end.
  private(set) var commands: [UInt8] = []
  private(set) var hasControlEnded = false

  private let control: FarEnd
  private let data: FarEnd
  private let client: FarEnd
  private let manners: HelperManners
  private var state = State.waiting

  private enum State {
    case waiting, shakingHands, relaying, gone
  }

  /// - Parameter client: a second descriptor of the client's connection.
  init(control: FarEnd, data: FarEnd, client: FarEnd, _ manners: HelperManners) {
    self.control = control
    self.data = data
    self.client = client
    self.manners = manners
    if manners == .gone { leave() }
  }

  /// Whether the octets inside TLS run over the control socket.
  private var isShared: Bool { control === data }

  var numbers: [CInt] { control.numbers + (state == .relaying ? data.numbers + client.numbers : []) }
  /// The number of the client's connection here, nil once it is closed.
  var clientNumber: CInt? { client.numbers.first }

  func step() -> Bool {
    switch state {
    case .waiting:
      guard control.step() else { return false }
      commands += control.take()
      hasControlEnded = control.hasEnded
      if commands.contains(UInt8(ascii: "Y")) {
        take()
      } else if hasControlEnded {
        leave()
      }
      return true
    case .shakingHands: return shakeHands()
    case .relaying: return relay()
    case .gone: return false
    }
  }

  private func take() {
    switch manners {
    case .ordinary, .gone: state = .shakingHands
    case .fails: leave()
    case .mute: state = .shakingHands
    case .babbles:
      control.say(Array("=nonsense\0\0".utf8))
      state = .shakingHands
    }
  }

  private func shakeHands() -> Bool {
    let isMoved = control.step()
    commands += control.take()
    hasControlEnded = control.hasEnded
    // The driver has given the session up: it closes the channel that this end reads.
    _ = data.step()
    if data.hasEnded { leave() }
    if client.isOpen, client.step() { return true }
    guard manners == .ordinary, state == .shakingHands else { return isMoved }
    if client.inbox.starts(with: ScriptedHelper.hello) {
      _ = client.take(ScriptedHelper.hello.count)
      client.say(ScriptedHelper.hello)
      control.say(Array("SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_AES_256_GCM_SHA384\0\0".utf8))
      state = .relaying
      return true
    }
    if client.hasEnded || client.inbox.count >= ScriptedHelper.hello.count {
      leave()
      return true
    }
    return isMoved
  }

  private func relay() -> Bool {
    var isMoved = false
    if !isShared {
      isMoved = control.isOpen && control.step()
      commands += control.take()
      if control.hasEnded && !control.hasToSend && control.isOpen { control.close() }
    }
    if client.isOpen && client.step() { isMoved = true }
    if data.isOpen && data.step() { isMoved = true }
    data.say(client.take())
    client.say(data.take())
    if client.hasEnded { data.endSending() }
    if data.hasEnded { client.endSending() }
    if client.hasEnded && data.hasEnded && !client.hasToSend && !isMoved { leave() }
    return isMoved
  }

  /// The helper's process ends.
  private func leave() {
    for end in [control, data, client] { end.close() }
    state = .gone
  }

  /// The end of a test.
  func close() { leave() }
}
