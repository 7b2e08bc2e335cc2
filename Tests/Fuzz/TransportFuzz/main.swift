import FuzzSupport
import TransportKit

Fuzzer.run(TransportFuzz.run)
