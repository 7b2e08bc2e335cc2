import FuzzSupport
import FuzzTransport

Fuzzer.run(UCSPIEnvironmentFuzz.run)
