// tlsd-io: TLS on one side, clear octets on the other.
//
//     tlsd-io [options] fdr fdw
//     tlsd-io [options] program [arguments...]
//
// The client's connection is standard input and output. Octets out of TLS are written to fdw; octets into TLS are read
// from fdr. It is executed once per connection that uses TLS: no Foundation.

import Glibc

// Not exit(3): nothing is buffered, and the destructors of GnuTLS would only free memory that the kernel frees anyway.
_exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
