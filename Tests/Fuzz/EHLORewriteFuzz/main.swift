import FuzzProperties
import FuzzSupport

Fuzzer.run(EHLORewriteFuzz.run)
