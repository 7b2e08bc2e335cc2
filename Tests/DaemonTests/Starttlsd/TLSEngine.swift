// TLSEngine: a TLS client that has no socket.
//
// A Python process with one memory-BIO client per connection. The test owns the sockets, and so decides which octets of
// a handshake or a record travel, when, and in how many pieces, and can end a connection anywhere.
//
// Requests are an octet, a connection's number, a length and that many octets; answers are a state, two lengths, the
// octets deciphered and those to be sent.

import CKernel
import Foundation
import Glibc

/// The process. All calls wait, with a limit. Threads may share it: each request waits for the one before it.
final class TLSEngine: @unchecked Sendable {
  // Unchecked: what changes, and the pipes, are under the lock.

  /// Where a connection is.
  enum State: UInt8 {
    case handshaking = 0x68  // h
    case open = 0x6F  // o
    /// The server has sent close_notify.
    case ended = 0x65  // e
    /// The text says why.
    case failed = 0x66  // f
  }

  struct Answer {
    let state: State
    /// Deciphered octets; the words of the failure, where there is one.
    let plain: [UInt8]
    /// To be sent.
    let cipher: [UInt8]
  }

  private let program: SpawnedProgram
  private let requests: CInt
  private let answers: CInt
  private let lock = NSLock()
  private var connections: UInt32 = 0

  init() throws {
    var ends: [CInt] = [-1, -1, -1, -1]
    pipe(&ends)
    ends.withUnsafeMutableBufferPointer { _ = pipe($0.baseAddress! + 2) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    requests = ends[1]
    answers = ends[2]
    program = try SpawnedProgram(
      ["/usr/bin/python3", "-ISc", TLSEngine.source], input: .descriptor(ends[0]), output: .descriptor(ends[3]))
    close(ends[0])
    close(ends[3])
  }

  deinit {
    close(requests)
    close(answers)
    program.kill()
  }

  /// A new connection; the answer has its ClientHello.
  func begin(serverName: String, version: String) throws -> (number: UInt32, answer: Answer) {
    let number = lock.withLock {
      connections += 1
      return connections
    }
    return (number, try ask("n", number, Array((version + serverName).utf8)))
  }

  /// Octets of the server have come.
  func received(_ number: UInt32, _ octets: [UInt8]) throws -> Answer { try ask("i", number, octets) }

  /// Octets to encipher, in one record where they fit.
  func encipher(_ number: UInt32, _ octets: [UInt8]) throws -> Answer { try ask("w", number, octets) }

  /// The close_notify.
  func closeNotify(_ number: UInt32) throws -> Answer { try ask("c", number, []) }

  /// Protocol version and cipher suite, with a blank between.
  func facts(_ number: UInt32) throws -> String { String(decoding: try ask("v", number, []).plain, as: UTF8.self) }

  /// The server's certificate, in DER.
  func certificate(_ number: UInt32) throws -> [UInt8] { try ask("p", number, []).plain }

  func forget(_ number: UInt32) { _ = try? ask("d", number, []) }

  private func ask(_ operation: Character, _ number: UInt32, _ octets: [UInt8]) throws -> Answer {
    try lock.withLock { try exchange(operation, number, octets) }
  }

  private func exchange(_ operation: Character, _ number: UInt32, _ octets: [UInt8]) throws -> Answer {
    let head = [operation.asciiValue!] + TLSEngine.octets(number) + TLSEngine.octets(UInt32(octets.count))
    var rest = (head + octets)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(requests, $0.baseAddress, $0.count) }
      guard count > 0 else { throw Failure("the TLS engine is gone") }
      rest = rest.dropFirst(count)
    }
    let lengths = try read(9)
    guard let state = State(rawValue: lengths[0]) else { throw Failure("the TLS engine is out of step") }
    let plain = try read(TLSEngine.number(lengths[1..<5]))
    return Answer(state: state, plain: plain, cipher: try read(TLSEngine.number(lengths[5..<9])))
  }

  private func read(_ count: Int) throws -> [UInt8] {
    var octets = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      var entry = pollfd(fd: answers, events: CShort(POLLIN), revents: 0)
      guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { throw Failure("the TLS engine does not answer") }
      let moved = octets.withUnsafeMutableBytes { Glibc.read(answers, $0.baseAddress! + done, count - done) }
      guard moved > 0 else { throw Failure("the TLS engine is gone") }
      done += moved
    }
    return octets
  }

  private static func octets(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

  private static func number(_ octets: ArraySlice<UInt8>) -> Int { octets.reduce(0) { $0 << 8 | Int($1) } }

  private static let source = """
    import ssl, struct, sys

    def context(version):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        made.minimum_version = made.maximum_version = version
        return made

    contexts = {b'2': context(ssl.TLSVersion.TLSv1_2), b'3': context(ssl.TLSVersion.TLSv1_3)}
    # A ClientHello as large as one with a post-quantum key: it does not fit into one TCP segment.
    for size, version in ((b'L', ssl.TLSVersion.TLSv1_3), (b'l', ssl.TLSVersion.TLSv1_2)):
        contexts[size] = context(version)
        contexts[size].set_alpn_protocols(['smtp'] + [f'x-{number}-' + 'x' * 240 for number in range(8)])

    class Connection:
        def __init__(self, what):
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = contexts[what[:1]].wrap_bio(self.incoming, self.outgoing, server_hostname=what[1:].decode() or None)
            self.state = b'h'
            self.plain = b''

        def progress(self):
            try:
                if self.state == b'h':
                    self.tls.do_handshake()
                    self.state = b'o'
                while self.state == b'o':
                    octets = self.tls.read(65536)
                    if not octets:
                        self.state = b'e'
                    self.plain += octets
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except ssl.SSLZeroReturnError:
                self.state = b'e'
            except ssl.SSLError as error:
                self.state = b'f'
                self.plain += str(error).encode()

        def closed(self):
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass

    connections = {}
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(head := requests.read(9)) == 9:
        operation, number, length = struct.unpack('>cII', head)
        octets = requests.read(length)
        if operation == b'n':
            connections[number] = Connection(octets)
        one = connections[number]
        if operation == b'n':
            one.progress()
        elif operation == b'i':
            one.incoming.write(octets)
            one.progress()
        elif operation == b'w':
            one.tls.write(octets)
        elif operation == b'c':
            one.closed()
        elif operation == b'v':
            one.plain += f'{one.tls.version()} {one.tls.cipher()[0]}'.encode()
        elif operation == b'p':
            one.plain += one.tls.getpeercert(True)
        elif operation == b'd':
            del connections[number]
        plain, one.plain = one.plain, b''
        cipher = one.outgoing.read()
        answers.write(one.state + struct.pack('>II', len(plain), len(cipher)) + plain + cipher)
        answers.flush()
    """
}
