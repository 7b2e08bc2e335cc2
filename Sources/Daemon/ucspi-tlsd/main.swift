// ucspi-tlsd: creates the channels of UCSPI-TLS, starts a helper that waits on them, and executes the server program.
//
//     ucspi-tlsd [options] prog...
//
// It is executed once per connection, so it must start fast: no Foundation, no TLS library. The helper executes the TLS
// engine, a separate program, when the server program requests it.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
