// starttls-replay: decides a recorded session again.
//
//     starttls-replay [--transcript FILE] RECORDING...
//
// The program is in Program.swift, its options are in Options.swift.

import Glibc

exit(Program.run(count: CommandLine.argc, arguments: CommandLine.unsafeArgv).rawValue)
