// CredentialFile: reads a file with a certificate chain or a key, in PEM or DER, and wipes it from memory.

import CGnuTLS
import Glibc
public import Transport

/// Opens the files of certificates and keys in another way than by their paths: a program that may not read its key files
/// itself gets them from another process.
public protocol CredentialOpening {
  /// A descriptor of the file for reading, from its start.
  func open(_ path: String) throws(SystemError) -> Descriptor
}

/// The octets of a file with certificates or a key, wiped when the value ends.
struct CredentialFile: ~Copyable {
  private static let limit = 1 << 20

  // Allocated at full size: growing the buffer would leave copies of a key in memory.
  private let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 1, alignment: 16)
  private var length = 0
  /// True if users other than the owner may read the file.
  private(set) var isExposed = false
  /// True if every user may read the file.
  private(set) var isExposedToAll = false

  /// Reads a file of at most 1 MiB.
  ///
  /// - Parameter opening: opens the file; nil to open it by its path.
  init(
    _ path: String, opening: (any CredentialOpening)? = nil
  ) throws(TLSCredentialsError) {
    guard !path.hasPrefix("pkcs11:") else { throw .token(path) }
    do {
      let file = if let opening { try opening.open(path) } else { try CredentialFile.opened(path) }
      let mode = try Kernel.status(file.number).st_mode
      isExposed = mode & (S_IRGRP | S_IROTH) != 0
      isExposedToAll = mode & S_IROTH != 0
      try read(file.number)
    } catch {
      throw .unreadable(path: path, error)
    }
    guard length <= CredentialFile.limit else { throw .tooLarge(path: path) }
  }

  /// Reads the rest of an open file with read(2) alone, for a process that may make few system calls.
  init(reading file: consuming Descriptor, path: String) throws(TLSCredentialsError) {
    do {
      try read(file.number)
    } catch {
      throw .unreadable(path: path, error)
    }
    guard length <= CredentialFile.limit else { throw .tooLarge(path: path) }
  }

  private mutating func read(_ number: CInt) throws(SystemError) {
    while length < storage.count {
      let moved = try Kernel.read(number, UnsafeMutableRawBufferPointer(rebasing: storage[length...]))
      if moved == 0 { break }
      length += moved
    }
  }

  /// Opens a file by its path.
  private static func opened(_ path: String) throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.open(path, O_RDONLY))
  }

  deinit {
    gnutls_memset(storage.baseAddress, 0, length)
    storage.deallocate()
  }

  /// PEM if it contains `-----BEGIN`; otherwise DER, with one object per file.
  var form: gnutls_x509_crt_fmt_t { position(of: "-----BEGIN", from: 0) == nil ? GNUTLS_X509_FMT_DER : GNUTLS_X509_FMT_PEM }

  /// Where a text that begins with `-` occurs at or after a position; nil if it does not.
  func position(of mark: StaticString, from first: Int) -> Int? {
    // Not `firstRange(of:)`: it would link the regular expression library, 1.4 MB, into each program.
    var position = first
    while position + mark.utf8CodeUnitCount <= length {
      guard let start = storage.baseAddress, let dash = memchr(start + position, CInt(UInt8(ascii: "-")), length - position) else { break }
      position = UnsafeRawPointer(dash) - UnsafeRawPointer(start)
      guard length - position >= mark.utf8CodeUnitCount else { break }
      if memcmp(dash, mark.utf8Start, mark.utf8CodeUnitCount) == 0 { return position }
      position += 1
    }
    return nil
  }

  /// Passes the octets in the library's form.
  borrowing func withDatum<Result>(_ body: (inout gnutls_datum_t) -> Result) -> Result {
    var datum = gnutls_datum_t(data: storage.baseAddress?.assumingMemoryBound(to: UInt8.self), size: UInt32(length))
    return body(&datum)
  }
}

/// The library's text for one of its error codes.
func libraryText(_ code: CInt) -> String {
  String(cString: gnutls_strerror(code))
}

/// A date such as `2026-05-31`, in UTC, for a time in seconds since 1970.
func calendarDate(_ time: Int) -> String {
  var time = time_t(time)
  var parts = tm()
  guard gmtime_r(&time, &parts) != nil else { return "\(time)" }
  func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
  return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
}

/// True if a text is a DNS name: letters, digits, `-` and `.`, no empty label, at most 253 octets.
func isDNSName(_ text: some StringProtocol) -> Bool {
  let octets = text.utf8
  guard (1...253).contains(octets.count) else { return false }
  let known = octets.allSatisfy {
    switch $0 {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
      true
    default: false
    }
  }
  return known
    && octets.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy {
      (1...63).contains($0.count)
    }
}
