import SessionKit
import FuzzSupport

Fuzzer.run(EHLORewriteFuzz.run)
