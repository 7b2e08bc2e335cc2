import FuzzSupport
import TransportKit

Fuzzer.run(TLSInfoFuzz.run)
