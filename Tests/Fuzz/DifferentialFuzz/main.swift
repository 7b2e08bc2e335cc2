import SessionKit
import FuzzSupport

Fuzzer.run(DifferentialFuzz.run)
