// Values: what the names in a script stand for.

extension SMTPProbe {
  /// The values of one run.
  package struct Values: Sendable {
    /// The argument of EHLO.
    package var client = "starttls-check.invalid"
    package var sender = ""
    package var recipient = ""
    /// A word that occurs only in this run.
    package var marker = ""
    /// The argument of AUTH PLAIN.
    package var plain = ""
    /// The password that `plain` contains, and the same in base64: a server may decode what it repeats.
    package var password: [UInt8] = []
    package var encodedPassword = ""
    /// The number of the sweep.
    package var padding = 0

    package init() {}

    package static let names = ["client", "sender", "recipient", "marker", "plain"]

    var secrets: Secrets { Secrets(plain: [password], encoded: [plain, encodedPassword]) }

    func octets(of template: Template) -> [UInt8] {
      template.parts.flatMap { part -> [UInt8] in
        switch part {
        case .octets(let octets): octets
        case .name("client"): Array(client.utf8)
        case .name("sender"): Array(sender.utf8)
        case .name("recipient"): Array(recipient.utf8)
        case .name("marker"): Array(marker.utf8)
        case .name("plain"): Array(plain.utf8)
        case .name: []
        }
      }
    }
  }
}
