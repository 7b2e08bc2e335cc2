// TLSLimits: what a client may have a session do without progress. The figures and their reasons are in Docs/TLS.md.
//
// The library limits the updates of keys to 8 a second, and empty records within one of its calls. It reports neither
// records without data nor those of a handshake, and it stores an incomplete message whatever its length. So they are counted here, where they are received: the headers of
// records are never encrypted.
//
// Time is not limited here: the caller has one deadline for the handshake and one for a session without progress.

import CGnuTLS

enum TLSLimits {
  /// The maximum number of warning alerts from a client in a session. Honest clients send none or one.
  static let warnings = 4

  /// The longest handshake message, in octets. A ClientHello with post-quantum keys has about 2,000. The library applies it
  /// to complete messages only: it stores what a client announces, up to 16 MiB, see `handshakeOctets`.
  static let handshakeMessage = 65_536

  /// All octets of a client's handshake. Honest clients send less than 5,000, with a chain of certificates some 20,000.
  static let handshakeOctets = 131_072

  /// The maximum number of records in a client's handshake. Honest clients send 3 to 10; one that divides a chain of
  /// certificates into records of 512 octets, about 100.
  static let handshakeRecords = 512

  /// The maximum number of records in succession without data after the handshake: empty ones, updates of keys, warnings,
  /// and parts of a handshake message.
  static let recordsWithoutData = 64

  /// The maximum number of octets in these records. The first record of data counts until it is complete: 16,640.
  static let octetsWithoutData = 65_536

  /// The longest record of TLS 1.2, with its header (RFC 5246, 6.2.3).
  static let longestRecord = 18_437

  /// How often the library may request octets in one handshake step or read: twice per record. Without a limit, a client
  /// that sends very many small records, or empty ones, would delay all other sessions. Further octets stay in the kernel,
  /// where poll sees them. Those that were received ahead are requested without this limit: they are few.
  static let pulls = 64

  /// How many octets are received at once if the library requests fewer. They hold fewer records, each of at least 6 octets, than
  /// the 200 without data that the library accepts in one call.
  static let readAhead = 1_024
}

/// Counts the records that a client sends, from the octets as they are received.
struct RecordMeter {
  /// The number of records whose header was received completely.
  private(set) var records = 0
  /// The number of octets, headers included.
  private(set) var octets = 0
  /// The octets of the current header: type, version, length.
  private var header: (UInt8, UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0, 0)
  private var headerCount = 0
  /// The octets of the current record that are missing.
  private var missing = 0

  /// True if a handshake has taken more than any needs.
  var exceedsHandshake: Bool { records > TLSLimits.handshakeRecords || octets > TLSLimits.handshakeOctets }

  /// True if too much was received since an earlier state of this meter.
  ///
  /// - Parameter hasData: true if the last record had data. It does not count.
  func exceedsDataless(since earlier: RecordMeter, hasData: Bool = false) -> Bool {
    records - earlier.records > TLSLimits.recordsWithoutData + (hasData ? 1 : 0)
      || octets - earlier.octets > TLSLimits.octetsWithoutData + (hasData ? TLSLimits.longestRecord : 0)
  }

  /// Octets were received, in order, without a gap.
  mutating func received(_ buffer: UnsafeRawBufferPointer) {
    octets += buffer.count
    var rest = buffer[...]
    while let first = rest.first {
      if missing > 0 {
        let count = min(missing, rest.count)
        missing -= count
        rest = rest.dropFirst(count)
      } else {
        append(first)
        rest = rest.dropFirst()
      }
    }
  }

  private mutating func append(_ octet: UInt8) {
    withUnsafeMutableBytes(of: &header) { $0[headerCount] = octet }
    headerCount += 1
    // The first ClientHello may have the form of SSL 2.0 (RFC 5246, E.2): two octets of length with the highest bit set.
    let isOld = records == 0 && header.0 & 0x80 != 0
    guard headerCount == (isOld ? 2 : 5) else { return }
    missing = isOld ? Int(header.0 & 0x7F) << 8 | Int(header.1) : Int(header.3) << 8 | Int(header.4)
    headerCount = 0
    records += 1
  }
}
