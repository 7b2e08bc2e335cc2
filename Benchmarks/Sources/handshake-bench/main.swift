// handshake-bench: the processor time of full handshakes with the TLS layer of the product, and with GnuTLS alone.
//
//     handshake-bench certificate key priorities seconds
//
// Both ends are in this process, as in `gnutls-cli --benchmark-tls-kx`. The product's end has a socket, the library alone has
// memory. The two take turns of 20 handshakes, so other work on the machine meets both. Prints two numbers: microseconds of
// processor time for each handshake with the product, and with the library alone. Failure: a line, exit code 1.

import Glibc
import HandshakePeer
import Transport
import TransportTLS

func processorMicroseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
}

func fail(_ text: String) -> Never {
  let line = "handshake-bench: \(text)\n"
  _ = line.utf8.withContiguousStorageIfAvailable { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  exit(1)
}

func handshake(_ credentials: TLSCredentials, _ priorities: TLSPriorities, _ text: String) throws {
  let stream = try GnuTLSStream(credentials, priorities)
  // As starttlsd: the socket comes after the session.
  try DescriptorPair.sockets().split { server, client in
    stream.attach(server)
    guard fcntl(client.number, F_SETFL, O_NONBLOCK) == 0, let peer = peer_client_create(client.number, text) else { fail("no client") }
    var (isDone, isEstablished) = (false, false)
    while !(isDone && isEstablished) {
      if !isDone {
        let answer = peer_client_handshake(peer)
        if answer < 0 { fail("the client's handshake failed") }
        isDone = answer == 1
      }
      if !isEstablished {
        switch stream.handshake() {
        case .established: isEstablished = true
        case .wouldBlock: break
        case .failed(let why): fail(why)
        }
      }
    }
    peer_client_destroy(peer)
  }
}

let words = CommandLine.arguments
guard words.count == 5, let seconds = Double(words[4]) else { fail("usage: handshake-bench certificate key priorities seconds") }
let priorities = try TLSPriorities(.priority(words[3]))
let credentials = try TLSCredentials([.init(certificate: words[1], key: words[2])])
guard let bare = peer_server_credentials(words[1], words[2]) else { fail("\(words[1]): not usable") }
var times = (own: 0.0, bare: 0.0)
var count = 0.0
// The first turn, which warms both, is not counted.
var isWarm = false
while times.own + times.bare < seconds * 1e6 {
  let start = processorMicroseconds()
  for _ in 0..<20 { try handshake(credentials, priorities, words[3]) }
  let middle = processorMicroseconds()
  for _ in 0..<20 where peer_bare_handshake(bare, words[3]) < 0 { fail("the handshake of the library alone failed") }
  let end = processorMicroseconds()
  if isWarm {
    times.own += middle - start
    times.bare += end - middle
    count += 20
  }
  isWarm = true
}
print(times.own / count, times.bare / count)
