// OracleSwitch: from an accepted STARTTLS to the first state inside TLS.

import SMTPState

extension Oracle {
  mutating func beginSwitch() {
    peek(at: .client, in: restarts ? .peekingAtClient : .peekingBeforeReset)
  }

  mutating func peek(at side: Side, in lookingPhase: Phase) {
    phase = lookingPhase
    deed("peek \(side)")
    if !byHand.peeks {
      let stream = side == .server ? server : client
      peeked(stream.octets[stream.taken...].first, ended: stream.isEmpty && stream.hasEnded)
    }
  }

  mutating func peeked(_ first: UInt8?, ended: Bool) {
    switch phase {
    case .peekingAtServer:
      if first != nil {
        close("server unasked", saying: "421 4.3.0")
      } else if ended {
        close("server ended", saying: "421 4.3.0")
      } else {
        peek(at: .client, in: .peekingAtClient)
      }
    case .peekingBeforeReset, .peekingAtClient:
      if first == 0x16 || (first == nil && !ended) {
        if phase == .peekingAtClient {
          phase = .promised
          answer("220 2.0.0")
        } else {
          deed("reset server", toServer: Array("RSET\r\n".utf8))
          pending = ["RSET!"]
          phase = .resetting
        }
      } else if first == nil {
        close("client ended")
      } else {
        close("injected plaintext", saying: "554 5.5.0")
      }
    case .relaying, .closed: break
    case .greeting, .negotiating, .resetting, .promised, .handshaking, .restarting, .regreeting, .secured, .quitting,
      .refusing:
      close("misuse")
    }
  }

  mutating func unavailable() {
    switch phase {
    case .greeting, .negotiating, .resetting: isTLSAvailable = false
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient:
      // Known only where the server is to be restarted: elsewhere its end has closed the session.
      if server.isReported { return close("server ended", saying: "421 4.3.0") }
      isTLSAvailable = false
      phase = .negotiating
      answer("454 4.7.0")
    case .promised, .handshaking, .restarting, .regreeting, .secured, .quitting, .refusing, .relaying, .closed: break
    }
  }

  mutating func drained() {
    guard phase == .promised else { return }
    if restarts {
      deed("end server")
      server = Stream()
      isBetweenServers = true
    }
    deed("handoff")
    isDecided = true
    isTLSAtWork = true
    phase = .handshaking
  }

  mutating func secured(_ outcome: HandshakeOutcome) {
    guard !isFinal else { return }
    guard phase == .handshaking else { return close("misuse") }
    isTLSAtWork = false
    client = Stream()
    guard outcome == .established else { return close("tls failed") }
    isInsideTLS = true
    (waiting, isOneTooMany, chunkLine, isExchanging) = (nil, false, nil, false)
    (pending, reply, passed, isUnasked, junk) = ([], [], 0, false, 0)
    phase = restarts ? .restarting : .secured
    if restarts { deed("restart") }
  }

  mutating func restarted(_ outcome: RestartOutcome) {
    guard !isFinal else { return }
    guard phase == .restarting else { return close("misuse") }
    if outcome != .failed { isBetweenServers = false }
    switch outcome {
    case .ready: phase = .secured
    case .failed: close("restart failed", saying: "421 4.3.2")
    case .greeting:
      pending = ["greeting"]
      phase = .regreeting
    }
  }
}
