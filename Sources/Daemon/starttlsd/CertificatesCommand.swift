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

  @OptionGroup var certificates: CertificateOptions

  @Option(help: ArgumentHelp("Key of a certificate to come, PEM or DER; may be repeated.", valueName: "file"))
  var nextKey: [String] = []

  func run() throws {
    for line in try CertificatesCommand.lines(try certificates.files()) { print(line) }
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
  ///
  /// - Parameters:
  ///   - folder: that of the self-signed certificate, which the start creates; nil without one.
  ///   - signer: what is to sign with RSA keys; nil if no line is wanted about it.
  static func lines(
    _ files: CertificateFiles, selfSigned folder: String? = nil, _ signer: RSASignerChoice? = nil
  ) throws(ConfigurationError) -> [String] {
    try SeparateProcess.lines { () throws(ConfigurationError) in
      if let folder, !(try EmbeddedDefault.hasCertificate(in: folder)) { return ["a self-signed certificate will be created in \(folder) at the start"] }
      return try report(files, signer)
    }
  }

  private static func report(_ files: CertificateFiles, _ signer: RSASignerChoice?) throws(ConfigurationError) -> [String] {
    var lines: [String] = []
    // As in the process that signs: before there is a key.
    let rsa = signer.map { RSALibrary.load($0).state }
    if let signer { try rsa?.check(signer) }
    do {
      // Certificates and keys are checked as for serving.
      let credentials = try files.load()
      for served in credentials.served {
        let report = try CertificateReport(certificate: served.path)
        let days = (report.validUntil - time(nil)) / 86_400
        lines.append("\(served.path): \(report.names.joined(separator: ", "))")
        if let name = served.serverName { lines.append("  for clients that request \(name)") }
        lines.append("  key: \(report.keyType)")
        lines.append("  valid until \(LogLine.day(report.validUntil)), days left: \(days)")
        lines.append("  \(record(report.publicKeyDigest))")
        if let response = served.response { lines.append("  OCSP response: \(response)") }
      }
      if let rsa, credentials.hasRSAKey { lines.append(rsa.summary) }
      for warning in credentials.warnings { lines.append("warning: \(warning)") }
      if let advice = credentials.advice { lines.append("advice: \(advice)") }
    } catch {
      throw files.refused(error)
    }
    return lines
  }

  private static func record(_ digest: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return "TLSA 3 1 1 " + String(digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }
}
