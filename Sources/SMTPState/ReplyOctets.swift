// ReplyOctets: a reply's text as a collection. Embedded builds have only `text`: a collection can be copied into an array, and they
// do not allocate.
//
// Contract: it refers to the literal; nothing is copied or allocated.

#if !hasFeature(Embedded)
  extension SMTPSession.Reply {
    /// The reply's octets, including CRLF: `buffer.append(contentsOf: reply.octets)`.
    public var octets: Octets { Octets(text: text) }

    /// The octets of a reply. The collection refers to constant memory.
    public struct Octets: RandomAccessCollection, Sendable {
      let text: StaticString

      /// The position of the first octet: 0.
      public var startIndex: Int { 0 }
      /// The number of octets.
      public var endIndex: Int { text.utf8CodeUnitCount }

      /// The octet at that position.
      public subscript(position: Int) -> UInt8 {
        precondition(position >= 0 && position < endIndex)
        return text.utf8Start[position]
      }

      /// Calls the closure with all octets, which are contiguous.
      public func withContiguousStorageIfAvailable<Result>(
        _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
      ) rethrows -> Result? {
        try body(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
      }
    }
  }
#endif
