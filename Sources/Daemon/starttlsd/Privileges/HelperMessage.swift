// HelperMessage: a message between starttlsd and a process that it has forked.
//
// Fixed part: kind, number and two values, 32 bits each, in the order of octets of the machine. Then octets whose meaning
// depends on the kind, at most `limit` in all.

import Transport

struct HelperMessage {
  /// Room for the longest variables of a session: those of an access rule, of a client's certificate and of the server name.
  static let limit = Kernel.messageLimit
  private static let fixedLength = 16
  /// The most octets that the payload may have.
  static let textLimit = limit - fixedLength

  var kind: Int32
  var number: UInt32 = 0
  var first: Int32 = 0
  var second: Int32 = 0
  var payload: [UInt8] = []

  init(_ kind: Int32, number: UInt32 = 0, first: Int32 = 0, second: Int32 = 0, payload: [UInt8] = []) {
    self.kind = kind
    self.number = number
    self.first = first
    self.second = second
    self.payload = payload
  }

  /// nil if the octets are no message.
  init?(_ octets: [UInt8]) {
    guard octets.count >= HelperMessage.fixedLength else { return nil }
    func word(_ index: Int) -> Int32 {
      octets.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 4 * index, as: Int32.self) }
    }
    kind = word(0)
    number = UInt32(bitPattern: word(1))
    first = word(2)
    second = word(3)
    payload = Array(octets.dropFirst(HelperMessage.fixedLength))
  }

  /// nil if it would be too long.
  var octets: [UInt8]? {
    var octets: [UInt8] = []
    octets.reserveCapacity(HelperMessage.fixedLength + payload.count)
    for word in [kind, Int32(bitPattern: number), first, second] {
      withUnsafeBytes(of: word) { octets += $0 }
    }
    octets += payload
    return octets.count <= HelperMessage.limit ? octets : nil
  }
}
