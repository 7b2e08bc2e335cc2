// Options: the command line.

import Glibc
import NIOSSL

/// The values of the command line.
struct Options: Sendable {
  var host = "127.0.0.1"
  var port = 0
  var certificate: String?
  var key: String?
  var requiresTLS = false
  var name = "localhost"
  var folder = ""

  /// A wrong argument. The description includes the usage.
  struct Mistake: Error, CustomStringConvertible {
    let what: String
    var description: String {
      """
      \(what)
      usage: nio-smtpd [--listen address:port] [--certificate chain.pem --key key.pem] [--require-tls] [--name name]
                       folder
      """
    }
  }

  init(_ arguments: some Sequence<String>) throws {
    var rest = arguments.makeIterator()
    func value(of option: String) throws -> String {
      guard let value = rest.next() else { throw Mistake(what: "\(option): a value is missing") }
      return value
    }
    while let argument = rest.next() {
      switch argument {
      case "--listen": try setAddress(value(of: argument))
      case "--certificate": certificate = try value(of: argument)
      case "--key": key = try value(of: argument)
      case "--require-tls": requiresTLS = true
      case "--name": name = try value(of: argument)
      default:
        if argument.hasPrefix("-") || !folder.isEmpty { throw Mistake(what: "\(argument): unknown option, or a second folder") }
        folder = argument
      }
    }
    if (certificate == nil) != (key == nil) { throw Mistake(what: "--certificate and --key must be given together") }
    if requiresTLS && certificate == nil { throw Mistake(what: "--require-tls needs a certificate") }
    if !name.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) || name.utf8.count > 200 {
      throw Mistake(what: "--name: the value must have at most 200 visible ASCII characters")
    }
    if folder.isEmpty { throw Mistake(what: "the folder for the messages is missing") }
    if access(folder, W_OK | X_OK) != 0 { throw Mistake(what: "\(folder): not a folder that this user can write to") }
  }

  private mutating func setAddress(_ text: String) throws {
    guard let colon = text.lastIndex(of: ":"), colon > text.startIndex,
      let number = UInt16(text[text.index(after: colon)...])
    else { throw Mistake(what: "--listen: the value must be address:port") }
    // An IPv6 address is in brackets.
    host = text[..<colon].trimmingBrackets
    port = Int(number)
  }

  /// The TLS settings, nil without a certificate.
  func makeTLSContext() throws -> NIOSSLContext? {
    guard let certificate, let key else { return nil }
    var tls = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
      privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
    tls.minimumTLSVersion = .tlsv12
    return try NIOSSLContext(configuration: tls)
  }
}

extension Substring {
  fileprivate var trimmingBrackets: String {
    hasPrefix("[") && hasSuffix("]") ? String(dropFirst().dropLast()) : String(self)
  }
}
