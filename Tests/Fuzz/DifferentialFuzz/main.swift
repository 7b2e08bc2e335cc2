import FuzzProperties
import FuzzSupport

Fuzzer.run(DifferentialFuzz.run)
