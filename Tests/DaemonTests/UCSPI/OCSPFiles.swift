// OCSPFiles: certificates of an issuer, and OCSP responses about them.

import XCTest

extension UCSPITestCase {
  /// Makes `one` and `two` in the test's folder: `.chain`, `.key`, and `.ocsp` with a response that says good.
  func makeCertificatesWithResponses() throws {
    let script = """
      cd "$1" && exec >ocsp-output 2>&1
      req() { openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30 "$@"; }
      req -subj /CN=ca -keyout ca.key -out ca.pem || exit 1
      for name in one two; do
        req -subj /CN=$name.example -CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE -keyout $name.key -out $name.own || exit 1
        cat $name.own ca.pem >$name.chain
        serial=$(openssl x509 -in $name.own -noout -serial | cut -d= -f2)
        printf 'V\\t391231000000Z\\t\\t%s\\tunknown\\t/CN=%s\\n' "$serial" $name >ocsp-index
        openssl ocsp -issuer ca.pem -cert $name.own -no_nonce -reqout request || exit 1
        openssl ocsp -index ocsp-index -rsigner ca.pem -rkey ca.key -CA ca.pem -reqin request -respout $name.ocsp -ndays 7 || exit 1
      done
      """
    let made = try SpawnedProgram(["/bin/sh", "-c", script, "sh", folder.path])
    XCTAssertEqual(made.wait(), .exited(0), folder.text("ocsp-output"))
  }

  /// Makes `empty.crl` and `revoked.crl` in the test's folder: lists of the issuer `other`, the second with its own certificate.
  func makeRevocationLists() throws {
    let path = folder.path
    let configuration = "[ca]\ndefault_ca=d\n[d]\ndatabase=\(path)/index\ndefault_md=sha256\ncrlnumber=\(path)/number\n"
    try folder.write(Array(configuration.utf8), to: "ca.conf")
    try folder.write([], to: "index")
    try folder.write(Array("01\n".utf8), to: "number")
    let command = ["ca", "-config", path + "/ca.conf", "-cert", try file("other.pem"), "-keyfile", try file("other.key")]
    try openssl(command + ["-gencrl", "-crldays", "2", "-out", path + "/empty.crl"])
    try openssl(command + ["-revoke", try file("other.pem")])
    try openssl(command + ["-gencrl", "-crldays", "2", "-out", path + "/revoked.crl"])
  }
}
