// SigningKeyTests: what the process of the keys signs, by GnuTLS and by libcrypto.

import CGnuTLS
import CKernel
import Glibc
import Transport
import TransportTLS
import XCTest

final class SigningKeyTests: XCTestCase {
  private static let raw = GNUTLS_SIGN_RSA_RAW
  /// PSS with a key for any signature, and the length of the digest.
  private static let rsae = [(GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, 32), (GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, 48), (GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, 64)]
  private static let pss = [(GNUTLS_SIGN_RSA_PSS_SHA256, 32), (GNUTLS_SIGN_RSA_PSS_SHA384, 48), (GNUTLS_SIGN_RSA_PSS_SHA512, 64)]

  private func makeKey(_ folder: String, _ options: [String]) throws -> String {
    let path = folder + "/key"
    XCTAssertEqual(try runProgram(["openssl", "genpkey", "-quiet", "-out", path] + options), .exited(0))
    return path
  }

  private func key(_ path: String, _ library: CryptoLibrary?) throws -> SigningKey {
    try SigningKey(reading: Descriptor(adopting: try Kernel.open(path, O_RDONLY)), path: path, library: library)
  }

  private func request(_ algorithm: gnutls_sign_algorithm_t, _ count: Int, isHash: Bool = true) -> SignatureRequest {
    SignatureRequest(algorithm: Int32(bitPattern: algorithm.rawValue), isHash: isHash, octets: (0..<count).map { UInt8(truncatingIfNeeded: $0) })
  }

  /// PKCS #1 v1.5 has no random octets.
  func testBothLibrariesMakeTheSamePKCS1Signature() throws {
    try withFolder { folder in
      let path = try makeKey(folder, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
      let (own, other) = (try key(path, nil), try key(path, try CryptoLibrary()))
      XCTAssertTrue(!own.isLibcryptoUsed && other.isLibcryptoUsed && !other.isLibcryptoWrong)
      // The lengths of a DigestInfo with SHA-256, -384 and -512; and others, which GnuTLS takes as well.
      for count in [51, 67, 83, 1, 245] {
        let (first, second) = (own.sign(request(Self.raw, count)), other.sign(request(Self.raw, count)))
        XCTAssertTrue(!first.isByLibcrypto && second.isByLibcrypto, "\(count)")
        XCTAssertEqual(first.signature, second.signature)
        XCTAssertEqual(first.signature.count, 256)
      }
      for count in [0, 246, 1_025] {
        let (first, second) = (own.sign(request(Self.raw, count)), other.sign(request(Self.raw, count)))
        XCTAssertTrue(first.signature.isEmpty && second.signature.isEmpty && first.code < 0, "\(count)")
        XCTAssertEqual(first.code, second.code)
      }
    }
  }

  /// By either library: GnuTLS would read what follows a short digest in memory, which AddressSanitizer finds.
  func testADigestOfTheWrongLengthIsRefused() throws {
    try withFolder { folder in
      let path = try makeKey(folder, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
      let (own, key) = (try key(path, nil), try key(path, try CryptoLibrary()))
      for (algorithm, count) in Self.rsae {
        XCTAssertTrue(key.sign(request(algorithm, count)).isByLibcrypto)
        XCTAssertEqual(own.sign(request(algorithm, count)).signature.count, 256)
        for wrong in [1, count - 1, count + 1] {
          for one in [own, key] {
            let made = one.sign(request(algorithm, wrong))
            XCTAssertTrue(made.signature.isEmpty && made.code < 0, "\(algorithm) \(wrong)")
          }
        }
      }
      // Data in place of a digest: GnuTLS hashes them.
      let made = key.sign(request(GNUTLS_SIGN_RSA_SHA256, 100, isHash: false))
      XCTAssertTrue(!made.isByLibcrypto && made.signature.count == 256)
    }
  }

  /// RFC 4055, 1.2: such a key signs with one hash only.
  func testAKeyForPSSWithOneHash() throws {
    try withFolder { folder in
      let path = try makeKey(
        folder,
        ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_pss_keygen_md:sha384"]
          + ["-pkeyopt", "rsa_pss_keygen_mgf1_md:sha384", "-pkeyopt", "rsa_pss_keygen_saltlen:48"])
      let key = try key(path, try CryptoLibrary())
      XCTAssertTrue(key.isRSA && key.isLibcryptoUsed)
      for (algorithm, count) in Self.pss {
        let made = key.sign(request(algorithm, count))
        XCTAssertEqual(made.isByLibcrypto, count == 48)
        XCTAssertEqual(made.signature.isEmpty, count != 48)
      }
      XCTAssertTrue(key.sign(request(Self.raw, 51)).signature.isEmpty)
    }
  }

  /// 1,024 bits have no room for SHA-512 and its salt: GnuTLS makes the salt shorter.
  func testASmallKey() throws {
    try withFolder { folder in
      let key = try key(makeKey(folder, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]), try CryptoLibrary())
      for (algorithm, count) in Self.rsae { XCTAssertEqual(key.sign(request(algorithm, count)).isByLibcrypto, count != 64, "\(algorithm)") }
    }
  }

  func testOtherKeysAreLeftToGnuTLS() throws {
    try withFolder { folder in
      let key = try key(makeKey(folder, ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]), try CryptoLibrary())
      XCTAssertTrue(!key.isRSA && !key.isLibcryptoUsed && !key.isLibcryptoWrong)
      let made = key.sign(request(GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, 32))
      XCTAssertTrue(!made.isByLibcrypto && !made.signature.isEmpty)
      XCTAssertTrue(key.sign(request(GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, 31)).signature.isEmpty)
    }
  }

  /// `tryOut` also has the generators of random numbers seeded again, which libcrypto does after an hour or 65,536 requests.
  func testItSignsWithTheFilterOfTheProcessOfTheKeys() throws {
    try withFolder { folder in
      let path = try makeKey(folder, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
      let file = try Kernel.open(path, O_RDONLY)
      defer { Kernel.close(file) }
      let library = try CryptoLibrary()
      let process = try ForkedProcess("signing", keepsErrors: true, keeping: [file]) { _ in
        guard kernel_confine_to_signing() == 1 else { _exit(2) }
        guard library.tryOut() else { _exit(3) }
        guard let key = try? SigningKey(reading: Descriptor(adopting: file), path: "", library: library) else { _exit(4) }
        for _ in 0..<100 {
          guard key.sign(self.request(GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, 32)).isByLibcrypto else { _exit(5) }
        }
        _exit(0)
      }
      switch process.end(within: 20_000) {
      case .exited(let code): XCTAssertEqual(code, 0)
      case let other: XCTFail("\(String(describing: other))")
      }
    }
  }
}
