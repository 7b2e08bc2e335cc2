// starttls-proxy: STARTTLS for a server program that has none, under a UCSPI-TLS server.
//
//     starttls-proxy [options] prog...
//
// It is executed once per connection, so it must start fast: no Foundation, no TLS library. The helper of the UCSPI-TLS
// server performs TLS.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
