// Shadow: in this module, as in the property tests that it shares (the folder Properties), a session and a conversation are those of
// CSessionKit: Swift's and C's in step.

@testable import CSessionKit

typealias SMTPSession = CSessionKit.SMTPSession
typealias SMTPConversation = CSessionKit.SMTPConversation
