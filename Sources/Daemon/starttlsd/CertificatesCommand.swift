// CertificatesCommand: `starttlsd certificates` prints the certificates that starttlsd would serve.

import ArgumentParser
import Glibc
import TransportTLS

struct CertificatesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttlsd certificates",
    abstract: "Prints the certificates that starttlsd would serve, and their TLSA records.",
    discussion: """
      The record 3 1 1 is the SHA-256 digest of the public key. Publish the record of the next key, too, at least two \
      lifetimes of the record before the certificate is replaced.
      """)

  @Option(help: ArgumentHelp("Certificate with its chain, PEM or DER; may be repeated, with one key each.", valueName: "file"))
  var certificate: [String] = []

  @Option(help: ArgumentHelp("Private key of the certificate, PEM or DER.", valueName: "file"))
  var key: [String] = []

  @Option(help: ArgumentHelp("Key of a certificate to come, PEM or DER; may be repeated.", valueName: "file"))
  var nextKey: [String] = []

  func run() throws {
    for line in try CertificatesCommand.lines(try StartTLSDaemon.pairs(certificate, key)) { print(line) }
    for path in nextKey {
      do {
        let report = try KeyReport(key: path)
        print("\(path): the next key, \(report.keyType)")
        print("  \(CertificatesCommand.record(report.publicKeyDigest))")
      } catch {
        throw ConfigurationError.usage("\(error)")
      }
    }
  }

  /// The lines about certificates that can be served, made in a process of its own: the caller may start a server program
  /// after that.
  static func lines(_ pairs: [TLSCredentials.Pair]) throws(ConfigurationError) -> [String] {
    try SeparateProcess.lines { () throws(ConfigurationError) in try report(pairs) }
  }

  private static func report(_ pairs: [TLSCredentials.Pair]) throws(ConfigurationError) -> [String] {
    var lines: [String] = []
    do {
      // Certificate and key are checked as for serving.
      _ = try TLSCredentials(pairs)
      for pair in pairs {
        let report = try CertificateReport(certificate: pair.certificate)
        let days = (report.validUntil - time(nil)) / 86_400
        lines.append("\(pair.certificate): \(report.names.joined(separator: ", "))")
        lines.append("  key: \(report.keyType)")
        lines.append("  valid until \(LogLine.day(report.validUntil)), days left: \(days)")
        lines.append("  \(record(report.publicKeyDigest))")
      }
    } catch {
      throw .usage("\(error)")
    }
    return lines
  }

  private static func record(_ digest: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return "TLSA 3 1 1 " + String(digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }
}
