// ConstantDatabase: reads the records of a cdb file, as tcprules(1) writes it. The format is described in cdb(5).
//
//   2048 octets       256 pairs of 32-bit numbers, little-endian: position and length of each hash table
//   records           length of the key, length of the data, key, data
//   hash tables       not used here: the records are read once, in their order
//
// Contract: the file is not trusted. Each position is checked against the size; the time is linear in the size.

enum ConstantDatabase {
  private static let headerSize = 2048

  /// True if the octets are not text: the header of a cdb file always contains NUL, since no table can have a position
  /// or a length that needs four octets in a file of `AccessFile.sizeLimit`.
  static func isLikely(_ octets: [UInt8]) -> Bool { octets.prefix(headerSize).contains(0) }

  /// Calls `body` with the key and the data of each record, in the order of the file.
  static func read<Failure: Error>(
    _ octets: [UInt8], _ body: (ArraySlice<UInt8>, ArraySlice<UInt8>) throws(Failure) -> Void,
    damaged: (String) -> Failure
  ) throws(Failure) {
    guard octets.count >= headerSize else { throw damaged("the header is not complete") }
    func number(_ place: Int) -> Int {
      (0..<4).reduce(0) { $0 | Int(octets[place + $1]) << (8 * $1) }
    }
    // The records end where the first hash table starts.
    var end = octets.count
    for table in 0..<256 {
      let (position, length) = (number(table * 8), number(table * 8 + 4))
      guard position >= headerSize, position + length * 8 <= octets.count else {
        throw damaged("hash table \(table) is not in the file")
      }
      end = min(end, position)
    }
    var place = headerSize
    while place < end {
      guard end - place >= 8, case let (key, data) = (number(place), number(place + 4)), key + data <= end - place - 8 else {
        throw damaged("the record at octet \(place) is not complete")
      }
      place += 8
      try body(octets[place..<place + key], octets[place + key..<place + key + data])
      place += key + data
    }
  }
}
