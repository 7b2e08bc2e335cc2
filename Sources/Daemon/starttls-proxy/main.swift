// starttls-proxy: STARTTLS for a server program that has none, under a UCSPI-TLS server.
//
//     starttls-proxy [options] prog...
//
// Executed once per connection, so its start-up is its speed: no Foundation, no TLS library. TLS is spoken by the helper
// that the UCSPI-TLS server has put beside it.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
