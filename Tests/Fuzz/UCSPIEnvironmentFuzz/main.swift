import FuzzSupport
import TransportKit

Fuzzer.run(UCSPIEnvironmentFuzz.run)
