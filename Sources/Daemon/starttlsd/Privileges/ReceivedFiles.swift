// ReceivedFiles: the files of one set, as the reading process has sent them.
//
// Of a private key it has only what is public: the key itself goes from the reading process to the one that holds the
// keys. With --key-in-process key files come as files, too.

import CKernel
import Glibc
import Transport
import TransportTLS

final class ReceivedFiles: CredentialOpening, KeyHolding {
  private let files: CertificateFiles
  private let keys: KeyConnection?
  /// The files and the folders that cannot be listed, in the order of their numbers.
  private var paths: [String] = []
  private var indices: [String: Int] = [:]
  private var entries: [Entry] = []
  private var keyEntries: [KeyEntry] = []
  /// The file of the access rules, if it was requested.
  private var rules = Entry.missing
  private var generation: KeyGeneration?

  private enum Entry {
    case missing
    case file(SharedDescriptor)
    case failed(CInt)
    case irregular
  }

  private enum KeyEntry {
    case missing
    case key(algorithm: Int32, bits: UInt32, digest: [UInt8], isExposed: Bool)
    case unusable(code: CInt, reason: String)
  }

  /// What a message completes.
  enum Progress {
    case incomplete
    /// All files have come.
    case complete(CertificateReader.Cause)
  }

  /// - Parameter keys: nil if the keys are loaded in this process.
  init(_ files: CertificateFiles, _ keys: KeyConnection?) {
    self.files = files
    self.keys = keys
  }

  func take(_ message: HelperMessage, _ descriptor: inout Descriptor?) -> Progress {
    if message.kind == CertificateReader.complete {
      generation = keys.map { KeyGeneration($0, message.second) }
      return .complete(CertificateReader.Cause(rawValue: message.first) ?? .changed)
    }
    let index = Int(message.number)
    if message.kind == CertificateReader.path {
      guard index == paths.count else { return .incomplete }
      let path = String(decoding: message.payload, as: UTF8.self)
      indices[path] = index
      paths.append(path)
      entries.append(.missing)
      keyEntries.append(.missing)
      return .incomplete
    }
    if message.number == CertificateReader.rules {
      rules = entry(message, &descriptor) ?? rules
      return .incomplete
    }
    guard index < entries.count else { return .incomplete }
    switch message.kind {
    case CertificateReader.key:
      guard let exposed = message.payload.first else { break }
      keyEntries[index] = .key(
        algorithm: message.first, bits: UInt32(bitPattern: message.second), digest: Array(message.payload.dropFirst()),
        isExposed: exposed == 1)
    case CertificateReader.unusableKey:
      keyEntries[index] = .unusable(code: message.first, reason: String(decoding: message.payload, as: UTF8.self))
    default: entries[index] = entry(message, &descriptor) ?? entries[index]
    }
    return .incomplete
  }

  private func entry(_ message: HelperMessage, _ descriptor: inout Descriptor?) -> Entry? {
    switch message.kind {
    case CertificateReader.file:
      // The kernel closes it if this process may not open more.
      if let file = descriptor.take() { .file(SharedDescriptor(file)) } else { .failed(EMFILE) }
    case CertificateReader.failed: .failed(message.first)
    case CertificateReader.irregular: .irregular
    default: nil
    }
  }

  /// The path of a file that cannot be read again; nil if there is none.
  var irregularPath: String? {
    zip(paths, entries).first { if case .irregular = $0.1 { true } else { false } }?.0
  }

  /// Begins to load the credentials of the set.
  ///
  /// - Parameter replacesTicketKey: see `CredentialRequest`.
  func load(replacesTicketKey: Bool = false) throws(TLSCredentialsError) -> CredentialLoading {
    let folders = files.allFolders
    for folder in folders {
      guard let index = indices[folder], case .failed(let code) = entries[index] else { continue }
      throw .unreadable(path: folder, SystemError("open", code))
    }
    let request = files.request(paths.filter { !folders.contains($0) }, replacesTicketKey: replacesTicketKey)
    return try CredentialLoading(request, opening: self, keys: keys == nil ? nil : self)
  }

  /// The access rules as they were read; nil if they were not requested.
  var openRules: (() throws(SystemError) -> Descriptor)? {
    if case .missing = rules { return nil }
    let rules = rules
    return { () throws(SystemError) in try ReceivedFiles.open(rules) }
  }

  /// The file as it was read.
  func open(_ path: String) throws(SystemError) -> Descriptor {
    guard let index = indices[path] else { throw SystemError("open", ENOENT) }
    return try ReceivedFiles.open(entries[index])
  }

  private static func open(_ entry: Entry) throws(SystemError) -> Descriptor {
    switch entry {
    case .file(let file):
      // One file may hold both a certificate and its key, and is then opened twice.
      lseek(file.descriptor.number, 0, SEEK_SET)
      return try file.descriptor.duplicate()
    case .failed(let code): throw SystemError("open", code)
    case .irregular: throw SystemError("open a regular file", EINVAL)
    case .missing: throw SystemError("open", ENOENT)
    }
  }

  /// The key of a file.
  func key(_ path: String) throws(TLSCredentialsError) -> HeldKey {
    guard let index = indices[path], let generation else {
      throw .unreadable(path: path, SystemError("open", ENOENT))
    }
    switch keyEntries[index] {
    case .key(let algorithm, let bits, let digest, let isExposed):
      return HeldKey(algorithm: algorithm, bits: bits, publicKeyDigest: digest, isExposed: isExposed) {
        generation.sign($0, index: Int32(index))
      }
    case .unusable(EFBIG, _): throw .tooLarge(path: path)
    case .unusable(0, let reason): throw .badKey(path: path, reason)
    case .unusable(let code, _): throw .unreadable(path: path, SystemError("read", code))
    case .missing:
      if case .failed(let code) = entries[index] { throw .unreadable(path: path, SystemError("open", code)) }
      throw .unreadable(path: path, SystemError("open", ENOENT))
    }
  }

  /// Waits for the first set, which the reading process sends at its start.
  static func first(
    _ files: CertificateFiles, _ keys: KeyConnection, _ reader: borrowing ForkedProcess
  ) throws(ConfigurationError) -> TLSCredentials {
    let received = ReceivedFiles(files, keys)
    while true {
      switch reader.socket.receive(limit: HelperMessage.limit) {
      case .nothing:
        var entry = pollfd(fd: reader.socket.descriptor.number, events: CShort(POLLIN), revents: 0)
        _ = poll(&entry, 1, -1)
      case .ended:
        throw .system("starttlsd-read, which reads the certificates, \(reader.howItEnded())")
      case .message(var message):
        guard let known = HelperMessage(message.octets) else {
          throw .system("starttlsd-read, which reads the certificates, sent a message of an unknown form")
        }
        guard case .complete = received.take(known, &message.descriptor) else { continue }
        do {
          let loading = try received.load()
          while true {
            if let credentials = try loading.next(earlier: nil) { return credentials }
          }
        } catch {
          throw files.refused(error)
        }
      }
    }
  }
}
