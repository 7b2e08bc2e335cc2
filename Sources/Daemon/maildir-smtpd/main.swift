// maildir-smtpd: SMTP on standard input and output, delivery into one Maildir. For demonstrations and tests.
//
// It is executed once per connection, so it must start fast: no Foundation; it reads only arguments, environment and
// the Maildir.

import Glibc
import MaildirSMTPD

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
