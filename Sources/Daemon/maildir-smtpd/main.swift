// maildir-smtpd: SMTP on standard input and output, into one Maildir.
//
// Executed once per connection, so its start-up is its speed: no Foundation, nothing is read but arguments, environment
// and the Maildir.

import Glibc
import MaildirSMTPD

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
