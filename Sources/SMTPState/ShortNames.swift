// ShortNames: short names of the nested types for use within this package. Importers of the library use the full names, such as
// `SMTPSession.Command`.

package typealias Command = SMTPSession.Command
package typealias Deadline = SMTPSession.Deadline
package typealias Decision = SMTPConversation.Decision
package typealias Handoff = SMTPSession.Handoff
package typealias HandshakeOutcome = SMTPSession.HandshakeOutcome
package typealias Interest = SMTPSession.Interest
package typealias Hold = SMTPSession.Hold
package typealias Party = SMTPSession.Party
package typealias Phase = SMTPSession.Phase
package typealias Policy = SMTPSession.Policy
package typealias Reason = SMTPSession.Reason
package typealias Reply = SMTPSession.Reply
package typealias ReplySeparator = SMTPSession.ReplySeparator
package typealias RestartOutcome = SMTPSession.RestartOutcome
package typealias Step = SMTPSession.Step
package typealias Verb = SMTPSession.Verb
