import FuzzMaildirSMTPD
import FuzzSupport

Fuzzer.run(SMTPDFuzz.run)
