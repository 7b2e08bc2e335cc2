// TLSClientFacts: what is known of a client's certificate after the handshake.

/// The result of the verification and, if it succeeded, what the certificate contains.
package struct TLSClientFacts: Hashable, Sendable {
  /// The result.
  package enum Verdict: Hashable, Sendable {
    /// The client sent no certificate.
    case none
    /// It is valid.
    case verified
    /// It is not valid, for this reason.
    case failed(String)
  }

  package let verdict: Verdict
  /// SHA-256 of the certificate, in lower-case hexadecimal digits.
  package let digest: String?
  /// The distinguished names of subject and issuer as in RFC 4514, without control characters, at most 512 octets.
  package let subject: String?
  package let issuer: String?
  /// Parts of the subject, without control characters, at most 256 octets.
  package let commonName: String?
  package let mailAddress: String?

  package init(
    _ verdict: Verdict, digest: String? = nil, subject: String? = nil, issuer: String? = nil, commonName: String? = nil,
    mailAddress: String? = nil
  ) {
    self.verdict = verdict
    self.digest = digest
    self.subject = subject
    self.issuer = issuer
    self.commonName = commonName
    self.mailAddress = mailAddress
  }

  /// For the log line of a session.
  package var fields: [LogField] {
    var fields: [LogField]
    switch verdict {
    case .none: fields = [LogField("client-verify", .word("none"))]
    case .verified: fields = [LogField("client-verify", .word("success"))]
    case .failed(let reason):
      fields = [LogField("client-verify", .word("failed")), LogField("client-verify-failure", escaping: reason.utf8)]
    }
    if let digest { fields.append(LogField("client-hash", .word("SHA256:\(digest)"))) }
    if let subject { fields.append(LogField("client-subject", escaping: subject.utf8)) }
    return fields
  }
}
