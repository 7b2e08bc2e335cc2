import FuzzProperties
import FuzzSupport

Fuzzer.run(SessionFuzz.run)
