// ConversationBuffers: the octets that a conversation keeps, in one block of memory.
//
// Purpose: three lines that are held (client, reply, earlier) and two outputs (to the client, to the server).
// Contract: the block has the size that the limits give, see `size`. Whoever owns it keeps it at its address.
// Failure: what does not fit is refused whole and says so; nothing is ever cut.
//
// This is the one file of the core that writes through a pointer. Each buffer is a start, a capacity and a count; every
// access is checked against the capacity.

/// One bounded buffer in the block. Octets are appended at its end and removed from its front.
struct OctetBuffer {
  let start: Int
  let capacity: Int
  /// The first octet that is there, and how many there are.
  private(set) var first = 0
  private(set) var count = 0

  init(start: Int, capacity: Int) {
    self.start = start
    self.capacity = capacity
  }

  var end: Int { start + capacity }
  var room: Int { capacity - count }
  var isEmpty: Bool { count == 0 }

  mutating func removeAll() {
    first = 0
    count = 0
  }

  mutating func removeFirst(_ number: Int) {
    let length = min(max(number, 0), count)
    count -= length
    first = count == 0 ? 0 : first + length
  }

  /// Where the octets are in the block.
  func octets(_ memory: UnsafeMutableRawPointer) -> UnsafeMutablePointer<UInt8> {
    (memory + start + first).assumingMemoryBound(to: UInt8.self)
  }

  /// Appends all of the octets, or none if they do not fit.
  mutating func append(_ octets: UnsafePointer<UInt8>, _ number: Int, _ memory: UnsafeMutableRawPointer) -> Bool {
    guard number <= room else { return false }
    moveToFront(memory, for: number)
    (self.octets(memory) + count).update(from: octets, count: number)
    count += number
    return true
  }

  /// Appends all of the octets, or none if they do not fit.
  mutating func append(_ octets: Span<UInt8>, _ memory: UnsafeMutableRawPointer) -> Bool {
    guard octets.count <= room else { return false }
    moveToFront(memory, for: octets.count)
    let place = self.octets(memory) + count
    for index in octets.indices { place[index] = octets[index] }
    count += octets.count
    return true
  }

  /// Ends the line that begins `length` octets before the end: its LF and a CR before it become CR LF, and its separator
  /// octet is set as told. Takes at most three octets more.
  mutating func finishLine(length: Int, _ separator: ReplySeparator, _ memory: UnsafeMutableRawPointer) -> Bool {
    guard length <= count, room >= LineEnd.room else { return false }
    moveToFront(memory, for: LineEnd.room)
    let line = octets(memory) + (count - length)
    count += LineEnd.finish(line, length, separator) - length
    return true
  }

  /// Makes room behind the last octet for so many more, which fit.
  private mutating func moveToFront(_ memory: UnsafeMutableRawPointer, for number: Int) {
    guard first > 0, first + count + number > capacity else { return }
    let place = (memory + start).assumingMemoryBound(to: UInt8.self)
    place.update(from: place + first, count: count)
    first = 0
  }
}

/// The two rules by which a held line is edited.
enum LineEnd {
  /// How many octets of room `finish` needs behind a line.
  static var room: Int { 3 }

  /// Takes the line's LF and a CR before it away, sets or inserts the fourth octet as told, appends CR LF.
  ///
  /// - Returns: the new length.
  static func finish(_ line: UnsafeMutablePointer<UInt8>, _ length: Int, _ separator: ReplySeparator) -> Int {
    var end = length
    if end > 0 && line[end - 1] == .lineFeed { end -= 1 }
    if end > 0 && line[end - 1] == .carriageReturn { end -= 1 }
    if let octet = separator.replacement {
      if end > 3 {
        line[3] = octet
      } else {
        line[end] = octet
        end += 1
      }
    }
    line[end] = .carriageReturn
    line[end + 1] = .lineFeed
    return end + 2
  }
}

extension ReplySeparator {
  /// The octet that is set; nil where the server's own one stays.
  var replacement: UInt8? {
    switch self {
    case .kept: nil
    case .hyphen: .hyphen
    case .space: .space
    }
  }
}

/// All buffers of one conversation.
struct ConversationBuffers {
  var client: OctetBuffer
  var reply: OctetBuffer
  var earlier: OctetBuffer
  var toClient: OctetBuffer
  var toServer: OctetBuffer

  /// What one line of either side can add to the client's output: two reply lines, a reply of the session and a closing one.
  let clientRoom: Int
  /// What one line of the client can add to the server's output.
  let serverRoom: Int

  init(_ limits: Limits) {
    let line = Int(max(limits.commandLine, limits.responseLine))
    let replyLine = Int(limits.replyLine)
    clientRoom = 2 * (replyLine + LineEnd.room) + 256
    serverRoom = line + LineEnd.room
    client = OctetBuffer(start: 0, capacity: line)
    reply = OctetBuffer(start: client.end, capacity: replyLine)
    earlier = OctetBuffer(start: reply.end, capacity: replyLine)
    toClient = OctetBuffer(start: earlier.end, capacity: 2 * clientRoom)
    toServer = OctetBuffer(start: toClient.end, capacity: serverRoom + 4_096)
  }

  /// The size of the block, in octets.
  var size: Int { toServer.end }

  /// Whether nothing is kept, so that the block may go.
  var areEmpty: Bool {
    client.isEmpty && reply.isEmpty && earlier.isEmpty && toClient.isEmpty && toServer.isEmpty
  }
}
