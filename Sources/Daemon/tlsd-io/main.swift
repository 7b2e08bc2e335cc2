// tlsd-io: TLS on one side, clear octets on the other.
//
//     tlsd-io [options] fdr fdw
//
// The client's connection is standard input and output; what comes out of TLS is written to fdw, what goes into it is
// read from fdr. Executed once per connection that uses TLS: no Foundation.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
