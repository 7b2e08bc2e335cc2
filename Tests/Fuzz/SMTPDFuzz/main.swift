import MaildirKit
import FuzzSupport

Fuzzer.run(SMTPDFuzz.run)
