import FuzzSupport
import FuzzTransport

Fuzzer.run(TLSInfoFuzz.run)
