// ConversationBuffers: the octets that a conversation keeps, in one block of memory.
//
// Purpose: three holds (client, reply, earlier) and two outputs (to the client, to the server).
// Contract: the size of the block follows from the limits, see `size`. Its owner must not move it.
// Failure: octets that do not fit are refused as a whole, and the result is false. Nothing is truncated.
//
// Only this file of the core writes through a pointer. A buffer is a start, a capacity and a count; every access is checked
// against the capacity.

/// One bounded buffer in the block. Octets are appended at the end and removed from the front.
struct OctetBuffer {
  let start: Int
  let capacity: Int
  /// The offset of the first octet from `start`, and the number of octets.
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

  /// The address of the first octet.
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

  /// Finishes the line that begins `length` octets before the end: its LF and a CR before that become CR LF, and its separator
  /// octet is set as given. The line grows by at most three octets.
  mutating func finishLine(length: Int, _ separator: ReplySeparator, _ memory: UnsafeMutableRawPointer) -> Bool {
    guard length <= count, room >= LineEnd.room else { return false }
    moveToFront(memory, for: LineEnd.room)
    let line = octets(memory) + (count - length)
    count += LineEnd.finish(line, length, separator.replacement) - length
    return true
  }

  /// Makes room after the last octet for `number` more, which must fit.
  private mutating func moveToFront(_ memory: UnsafeMutableRawPointer, for number: Int) {
    guard first > 0, first + count + number > capacity else { return }
    let place = (memory + start).assumingMemoryBound(to: UInt8.self)
    place.update(from: place + first, count: count)
    first = 0
  }
}

/// The two rules for editing a held line.
package enum LineEnd {
  /// How many octets of room `finish` needs after a line.
  static var room: Int { 3 }

  /// Removes the line's LF and a CR before that, sets or inserts the fourth octet as given, appends CR LF.
  ///
  /// - Parameter fourth: the octet to set; nil if the line's own stays.
  /// - Returns: the new length.
  package static func finish(_ line: UnsafeMutablePointer<UInt8>, _ length: Int, _ fourth: UInt8?) -> Int {
    var end = length
    if end > 0 && line[end - 1] == .lineFeed {
      end -= 1
      if end > 0 && line[end - 1] == .carriageReturn { end -= 1 }
    }
    if let octet = fourth {
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
  /// The octet to set; nil if the server's octet stays.
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

  /// How many octets one line of either side can add to the client's output: two reply lines, a reply of the session and a
  /// closing reply.
  let clientRoom: Int
  /// How many octets one line of the client can add to the server's output.
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

  mutating func removeAll() {
    client.removeAll()
    reply.removeAll()
    earlier.removeAll()
    toClient.removeAll()
    toServer.removeAll()
  }

  /// Whether all buffers are empty, so that the block can be freed.
  var areEmpty: Bool {
    client.isEmpty && reply.isEmpty && earlier.isEmpty && toClient.isEmpty && toServer.isEmpty
  }
}
