// ucspi-tlsd: the channels of UCSPI-TLS, a helper that waits behind them, and then the server program.
//
//     ucspi-tlsd [options] prog...
//
// Executed once per connection, so its start-up is its speed: no Foundation, no TLS library. The TLS engine is started
// by the helper, in a program of its own, once the server program asks for it.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
