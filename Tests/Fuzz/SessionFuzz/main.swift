import SessionKit
import FuzzSupport

Fuzzer.run(SessionFuzz.run)
