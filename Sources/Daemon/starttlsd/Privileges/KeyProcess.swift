// KeyProcess: the process that holds the private keys and signs with them. It does nothing else.
//
// It gets the keys from the reading process, at the start and after each change, over a connection that starttlsd does
// not have. So the process that parses what strangers send never has a key in its memory. It keeps several generations:
// sessions sign with the keys that belong to their certificates.
//
// Before it has a key it gives up all capabilities and the right to gain privileges, cannot be traced or dumped, and
// can make no system calls but those to move octets, to allocate memory and to end (see SystemCallFilter.c). It ends with
// starttlsd, however that ends. Before the filter it loads libcrypto, if that is to sign with RSA keys (see RSALibrary).
//
// Messages of starttlsd; all values that are not of starttlsd's own are checked:
//
//   sign      the number is returned; generation, index of the file; 4 octets with the algorithm, one that is 1 for a
//             digest, the octets
//   release   the first value is a generation that is not used any more
//
// Messages to starttlsd: `ready`, whose first value is 1 if the system calls are filtered, with an RSALibrary; `signed` with the
// signature, whose first value states a `Signer`, or `refused` with the library's error code.
//
// Messages of the reading process: `load`, with the generation, the index of the file and a descriptor. The answer is
// `loaded`, with the algorithm, the size and the digest of the public key, or `unusable` with the reason.

import CKernel
import Glibc
import Transport
import TransportTLS

final class KeyProcess {
  static let sign: Int32 = 1
  static let release: Int32 = 2
  static let ready: Int32 = 3
  static let signed: Int32 = 4
  static let refused: Int32 = 5
  static let load: Int32 = 6
  static let loaded: Int32 = 7
  static let unusable: Int32 = 8

  /// What made a signature.
  enum Signer: Int32 {
    case gnutls, libcrypto
    /// GnuTLS, because libcrypto makes wrong signatures with this key.
    case replacement
  }

  /// More than are in use at a time: a handshake takes at most half a minute, and the oldest one is forgotten.
  private static let generationsLimit = 64

  private let daemon: MessageSocket
  private let loader: MessageSocket
  /// Signs with RSA keys; nil for GnuTLS.
  private let library: CryptoLibrary?
  private let isLibraryRequired: Bool
  private var generations: [Int32: [Int32: SigningKey]] = [:]

  /// Starts the process.
  ///
  /// - Parameters:
  ///   - loader: the connection to the reading process, which the new process owns.
  ///   - choice: what signs with RSA keys.
  static func start(loader: CInt, _ choice: RSASignerChoice) throws(SystemError) -> ForkedProcess {
    try ForkedProcess("starttlsd-key", keepsErrors: false, keeping: [loader]) { socket in
      let loader = MessageSocket(Descriptor(adopting: loader))
      guard kernel_keep_capabilities(0) == 0, kernel_set_no_new_privileges() == 0, kernel_set_undumpable() == 0
      else { _exit(111) }
      // It executes code of a library: without capabilities, and before there is a key.
      let (library, rsa) = RSALibrary.load(choice)
      let isConfined = kernel_confine_to_signing()
      guard isConfined >= 0 else { _exit(111) }
      KeyProcess(socket, loader, library, isLibraryRequired: choice == .libcrypto).run(isConfined: isConfined == 1, rsa)
    }
  }

  private init(
    _ daemon: consuming MessageSocket, _ loader: consuming MessageSocket, _ library: CryptoLibrary?, isLibraryRequired: Bool
  ) {
    self.daemon = daemon
    self.loader = loader
    self.library = library
    self.isLibraryRequired = isLibraryRequired
  }

  private func run(isConfined: Bool, _ rsa: RSALibrary) -> Never {
    let state = rsa.message
    let ready = HelperMessage(KeyProcess.ready, first: isConfined ? 1 : 0, second: state.value, payload: Array(state.text.utf8.prefix(512)))
    give(ready, to: daemon)
    var isLoaderThere = true
    while true {
      var entries = [
        pollfd(fd: daemon.descriptor.number, events: CShort(POLLIN), revents: 0),
        pollfd(fd: isLoaderThere ? loader.descriptor.number : -1, events: CShort(POLLIN), revents: 0),
      ]
      _ = poll(&entries, 2, -1)
      if entries[0].revents != 0 {
        switch daemon.receive(limit: HelperMessage.limit) {
        case .nothing: break
        case .ended: _exit(0)
        case .message(let message):
          guard let known = HelperMessage(message.octets) else { _exit(100) }
          obey(known)
        }
      }
      guard entries[1].revents != 0 else { continue }
      switch loader.receive(limit: HelperMessage.limit) {
      case .nothing: break
      // starttlsd is notified of that end as well, and decides.
      case .ended: isLoaderThere = false
      case .message(var message):
        guard let known = HelperMessage(message.octets) else { _exit(100) }
        load(known, message.descriptor.take())
      }
    }
  }

  private func obey(_ message: HelperMessage) {
    switch message.kind {
    case KeyProcess.sign: sign(message)
    case KeyProcess.release: generations[message.first] = nil
    default: _exit(100)
    }
  }

  private func sign(_ message: HelperMessage) {
    var answer = HelperMessage(KeyProcess.refused, number: message.number)
    if let key = generations[message.first]?[message.second], let request = SignatureRequest(message.payload) {
      let made = key.sign(request)
      if made.signature.isEmpty {
        answer.first = made.code
      } else {
        let signer: Signer = made.isByLibcrypto ? .libcrypto : key.isLibcryptoWrong ? .replacement : .gnutls
        answer = HelperMessage(KeyProcess.signed, number: message.number, first: signer.rawValue, payload: made.signature)
      }
    }
    give(answer, to: daemon)
  }

  private func load(_ message: HelperMessage, _ file: consuming Descriptor?) {
    guard message.kind == KeyProcess.load else { _exit(100) }
    var answer = HelperMessage(KeyProcess.unusable, number: message.number)
    do throws(TLSCredentialsError) {
      // The kernel had no descriptor for it here.
      guard let file else { throw .unreadable(path: "", SystemError("recvmsg", EMFILE)) }
      let key = try SigningKey(reading: file, path: "", library: library)
      guard !isLibraryRequired || !key.isRSA || key.isLibcryptoUsed else { throw .badKey(path: "", "libcrypto cannot sign with it (--rsa-signer)") }
      generations[message.first, default: [:]][Int32(bitPattern: message.number)] = key
      if generations.count > KeyProcess.generationsLimit, let oldest = generations.keys.min() { generations[oldest] = nil }
      answer = HelperMessage(
        KeyProcess.loaded, number: message.number, first: key.algorithm, second: Int32(key.bits), payload: key.publicKeyDigest)
    } catch {
      switch error {
      case .tooLarge: answer.first = EFBIG
      case .unreadable(_, let cause): answer.first = cause.code
      case .badKey(_, let text), .library(let text): answer.payload = Array(text.utf8.prefix(256))
      default: answer.payload = Array("\(error)".utf8.prefix(256))
      }
    }
    give(answer, to: loader)
  }

  private func give(_ message: HelperMessage, to socket: borrowing MessageSocket) {
    do {
      try socket.send(message.octets ?? [], isWaiting: true)
    } catch {
      _exit(0)
    }
  }
}

/// The form of a request in a message.
extension SignatureRequest {
  init?(_ payload: [UInt8]) {
    guard payload.count > 5, payload.count <= 5 + SignatureRequest.octetsLimit else { return nil }
    let algorithm = payload.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
    self.init(algorithm: algorithm, isHash: payload[4] == 1, octets: Array(payload[5...]))
  }

  /// nil if it has more octets than any that TLS asks for.
  var payload: [UInt8]? {
    guard octets.count <= SignatureRequest.octetsLimit else { return nil }
    return withUnsafeBytes(of: algorithm) { Array($0) } + [isHash ? 1 : 0] + octets
  }
}
