// ScriptedClient: a mail client that goes through a script and notes all that it receives.

/// The far end of the driver's connection to a client.
final class ScriptedClient {
  let end: FarEnd
  /// All that came in clear: up to and with the 220 to STARTTLS, if that came.
  private(set) var clear: [UInt8] = []
  /// All that it sent in clear, and inside TLS.
  private(set) var sentInClear: [UInt8] = []
  private(set) var sentInside: [UInt8] = []
  private(set) var tunnel: (any ClientTunnel)?

  private var steps: ArraySlice<ClientStep>
  private let makeTunnel: (FarEnd) -> any ClientTunnel
  /// Replies that have not come; the greeting is the first.
  private var pending = 1
  private var line: [UInt8] = []
  private var heardInside = 0
  /// STARTTLS was sent and not answered yet.
  private var asksForTLS = false
  /// What the client does after the 220 in place of a handshake.
  private var insteadOfHandshake: String?
  /// After the 220, without TLS.
  private var isBehind220 = false
  /// It received 421 or an end, or has come to the end of its script.
  private var isLeaving = false

  init(_ end: FarEnd, _ steps: [ClientStep], tunnel makeTunnel: @escaping (FarEnd) -> any ClientTunnel) {
    self.end = end
    self.steps = steps[...]
    self.makeTunnel = makeTunnel
  }

  /// What came inside TLS.
  var secure: [UInt8] { tunnel?.received ?? [] }

  /// Reads, goes on with the script, writes; whether anything moved.
  func step() -> Bool {
    guard end.isOpen else { return false }
    var isMoved = end.step()
    hear()
    if let tunnel {
      while tunnel.step() { isMoved = true }
      for octet in tunnel.received[heardInside...] { note(octet) }
      heardInside = tunnel.received.count
    }
    while !isLeaving, end.isOpen, let step = steps.first, isDue(step) {
      steps = steps.dropFirst()
      take(step)
      isMoved = true
    }
    if end.isOpen, end.hasEnded || tunnel?.failure != nil {
      end.close()
      isMoved = true
    }
    return end.isOpen && end.step() || isMoved
  }

  /// Reads what came in clear; after the 220 it is the tunnel's.
  private func hear() {
    while tunnel == nil, let octet = end.take(1).first {
      clear.append(octet)
      if !isBehind220 { note(octet) }
    }
  }

  private func note(_ octet: UInt8) {
    line.append(octet)
    guard octet == UInt8(ascii: "\n") else { return }
    defer { line = [] }
    let code = String(decoding: line.prefix(3), as: UTF8.self)
    if line.count > 3, line[3] == UInt8(ascii: "-") { return }
    pending -= 1
    if code == "421" { isLeaving = true }
    if pending == 0, asksForTLS { answered(code) }
  }

  /// The reply to STARTTLS.
  private func answered(_ code: String) {
    asksForTLS = false
    guard code == "220" else {
      steps = [.say("QUIT\r\n")]
      return
    }
    if let text = insteadOfHandshake {
      isBehind220 = true
      say(text)
    } else {
      tunnel = makeTunnel(end)
    }
  }

  private func isDue(_ step: ClientStep) -> Bool {
    let isHandshakeOver = tunnel?.isEstablished != false
    switch step {
    case .vanish: return true
    case .hurry: return isHandshakeOver
    case .say, .starttls, .starttlsAnd, .starttlsThen, .end, .stopReading, .close, .reset: return pending == 0 && isHandshakeOver
    }
  }

  private func take(_ step: ClientStep) {
    switch step {
    case .say(let text, let replies), .hurry(let text, let replies):
      say(text)
      pending += replies
    case .starttls:
      say("STARTTLS\r\n")
      pending += 1
      asksForTLS = true
    case .starttlsAnd(let text):
      say("STARTTLS\r\n\(text)")
      pending += 1
    case .starttlsThen(let text):
      say("STARTTLS\r\n")
      pending += 1
      asksForTLS = true
      insteadOfHandshake = text
    case .end:
      if let tunnel { tunnel.endSending() } else { end.endSending() }
    case .stopReading: end.hasStoppedReading = true
    case .close: end.close()
    case .vanish:
      // What was sent is written first.
      _ = end.step()
      end.close()
    case .reset: end.reset()
    }
  }

  private func say(_ text: String) {
    let octets = Array(text.utf8)
    if let tunnel {
      sentInside += octets
      tunnel.say(octets)
    } else {
      if !isBehind220 { sentInClear += octets }
      end.say(octets)
    }
  }
}
