// RecipientReplies: what a server answers to the recipients of a bounce.

import XCTest

extension SMTPClient {
  /// Offers a bounce to each recipient, in clear or inside TLS, and sends no message. Ends the session.
  func repliesToRecipients(_ recipients: [String], isInsideTLS: Bool) throws -> [String] {
    try expect("220 ")
    try ask("EHLO client.example")
    if isInsideTLS {
      try startTLS()
      try ask("EHLO client.example")
    }
    XCTAssertEqual(try ask("MAIL FROM:<>").prefix(4), "250 ")
    let replies = try recipients.map { try ask("RCPT TO:<\($0)>") }
    XCTAssertEqual(try ask("QUIT").prefix(4), "221 ")
    close()
    return replies
  }
}
