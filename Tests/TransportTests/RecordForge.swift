// RecordForge: encrypted records that no TLS library sends: empty ones, and parts of handshake messages.

import CGnuTLS
import XCTest

/// Encrypts records with the keys of a client's session, which must send nothing itself from then on. AES-256-GCM.
final class RecordForge {
  /// The type of a record (RFC 8446, 5.1).
  enum Kind: UInt8 {
    case alert = 21
    case handshake = 22
    case data = 23
  }

  private let cipher: gnutls_aead_cipher_hd_t
  private let vector: [UInt8]
  private let isTLS13: Bool
  private var sequence: UInt64

  init(_ session: gnutls_session_t) throws {
    var mac = gnutls_datum_t()
    var vector = gnutls_datum_t()
    var key = gnutls_datum_t()
    var sequence = [UInt8](repeating: 0, count: 8)
    XCTAssertEqual(gnutls_record_get_state(session, 0, &mac, &vector, &key, &sequence), 0)
    XCTAssertEqual(gnutls_cipher_get(session), GNUTLS_CIPHER_AES_256_GCM)
    var made: gnutls_aead_cipher_hd_t?
    XCTAssertEqual(gnutls_aead_cipher_init(&made, GNUTLS_CIPHER_AES_256_GCM, &key), 0)
    cipher = try XCTUnwrap(made)
    self.vector = Array(UnsafeBufferPointer(start: vector.data, count: Int(vector.size)))
    isTLS13 = gnutls_protocol_get_version(session) == GNUTLS_TLS1_3
    self.sequence = sequence.reduce(0) { $0 << 8 | UInt64($1) }
  }

  deinit { gnutls_aead_cipher_deinit(cipher) }

  /// The next record.
  func record(_ kind: Kind, _ contents: [UInt8]) -> [UInt8] {
    let number = withUnsafeBytes(of: sequence.bigEndian) { Array($0) }
    sequence += 1
    let plain = contents + (isTLS13 ? [kind.rawValue] : [])
    let length = plain.count + 16 + (isTLS13 ? 0 : 8)
    let header = [isTLS13 ? 23 : kind.rawValue, 3, 3, UInt8(length >> 8), UInt8(length & 255)]
    let size = [UInt8(plain.count >> 8), UInt8(plain.count & 255)]
    let nonce = isTLS13 ? zip(vector, [0, 0, 0, 0] + number).map { $0 ^ $1 } : vector.prefix(4) + number
    let additional = isTLS13 ? header : number + [kind.rawValue, 3, 3] + size
    var sealed = [UInt8](repeating: 0, count: plain.count + 16)
    var count = sealed.count
    let code = gnutls_aead_cipher_encrypt(
      cipher, nonce, nonce.count, additional, additional.count, 16, plain, plain.count, &sealed, &count)
    XCTAssertEqual(code, 0)
    return header + (isTLS13 ? [] : number) + sealed
  }
}
