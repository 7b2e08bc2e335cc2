// The same target as SessionFuzz, in a module where a session is the Swift one and the C one in step.

import CSessionKit
import FuzzSupport

Fuzzer.run(SessionFuzz.run)
