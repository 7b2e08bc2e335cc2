import FuzzSupport
import FuzzTransport

Fuzzer.run(TransportFuzz.run)
