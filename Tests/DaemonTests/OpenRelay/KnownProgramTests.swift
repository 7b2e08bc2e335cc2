// KnownProgramTests: programs that trust their descriptor, by the words of a command line.

import RelayProbe
import XCTest

final class KnownProgramTests: XCTestCase {
  func testCommandLines() {
    for (arguments, known) in [
      (["exim4", "-bs"], .exim), (["/usr/sbin/exim", "-bs"], .exim), (["env", "TZ=UTC", "exim4", "-bs"], .exim),
      (["/bin/sh", "-c", "exec exim4 -bs"], .exim), (["sh", "-c", "umask 077;exim4 -bs"], .exim),
      (["sh", "-c", "\"/usr/sbin/exim4\" -bs"], .exim), (["setuidgid", "mail", "nice", "/usr/sbin/exim4", "-bs"], .exim),
      (["exim4", "-oMaa", "x", "-bs"], .exim), (["exim4", "-oMai", "x", "-bs"], .exim),
      (["exim4", "-oMa", "192.0.2.1", "-bs"], nil), (["sh", "-c", "exec exim4 -oMa \"$TCPREMOTEIP\" -bs"], nil),
      (["sendmail", "-bs"], .sendmail), (["/usr/lib/sendmail", "-bs"], .sendmail), (["sendmail.postfix", "-bs"], .sendmail),
      // Postfix's sendmail takes -oMa and passes over it.
      (["sendmail", "-oMa", "192.0.2.1", "-bs"], .sendmail), (["/usr/lib/postfix/sbin/smtpd", "-S"], .sendmail),
      (["sh", "-c", "exim4 -oMa $TCPREMOTEIP -bs || sendmail -bs"], .sendmail),
      (["qmail-smtpd"], nil), (["/opt/own/smtpd"], nil), (["env", "SENDMAIL=/usr/sbin/sendmail", "smtpfront-qmail"], nil),
      (["eximstats"], nil), (["sendmails"], nil), (["maildir-smtpd", "/srv/exim/Maildir"], nil), ([""], nil), ([], nil),
    ] as [([String], KnownProgram?)] {
      XCTAssertEqual(KnownProgram.trusting(arguments), known, "\(arguments)")
    }
  }
}
