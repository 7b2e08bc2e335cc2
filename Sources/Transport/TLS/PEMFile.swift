// PEM files: read whole, looked at, and wiped from memory.

import CGnuTLS
import Glibc
import Transport

/// The octets of a PEM file, wiped when the value ends.
struct PEMFile: ~Copyable {
  private static let limit = 1 << 20

  // Of full size from the start: growing would leave copies of a key behind in memory.
  private let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 1, alignment: 16)
  private var length = 0

  /// Reads a file of at most 1 MiB.
  init(_ path: String) throws(TLSCredentialsError) {
    do {
      let file = Descriptor(adopting: try Kernel.open(path, O_RDONLY))
      while length < storage.count {
        let moved = try Kernel.read(file.number, UnsafeMutableRawBufferPointer(rebasing: storage[length...]))
        if moved == 0 { break }
        length += moved
      }
    } catch {
      throw .unreadable(path: path, error)
    }
    guard length <= PEMFile.limit else { throw .tooLarge(path: path) }
  }

  deinit {
    gnutls_memset(storage.baseAddress, 0, length)
    storage.deallocate()
  }

  /// Shows the octets in the library's form.
  borrowing func withDatum<Result>(_ body: (inout gnutls_datum_t) -> Result) -> Result {
    var datum = gnutls_datum_t(data: storage.baseAddress?.assumingMemoryBound(to: UInt8.self), size: UInt32(length))
    return body(&datum)
  }
}

/// What is looked at in a server's own certificate.
struct CertificateFacts {
  /// Seconds since 1970.
  let validFrom: Int
  /// Seconds since 1970.
  let validUntil: Int
  /// Whether the certificate names itself as its issuer.
  let isSelfSigned: Bool
  /// Whether it covers each of the names that were asked about.
  let coversNames: Bool

  /// Looks at the first certificate of a chain.
  ///
  /// - Throws: `.badCertificate`.
  init(_ file: borrowing PEMFile, path: String, names: [String] = []) throws(TLSCredentialsError) {
    var list: UnsafeMutablePointer<gnutls_x509_crt_t?>?
    var count: UInt32 = 0
    let code = file.withDatum {
      gnutls_x509_crt_list_import2(&list, &count, &$0, GNUTLS_X509_FMT_PEM, 0)
    }
    guard code >= 0, count > 0, let list, let first = list[0] else {
      throw .badCertificate(path: path, libraryText(code))
    }
    defer {
      for index in 0..<Int(count) { gnutls_x509_crt_deinit(list[index]) }
      shim_gnutls_free(list)
    }
    validFrom = gnutls_x509_crt_get_activation_time(first)
    validUntil = gnutls_x509_crt_get_expiration_time(first)
    isSelfSigned = gnutls_x509_crt_check_issuer(first, first) != 0
    coversNames = names.allSatisfy { gnutls_x509_crt_check_hostname(first, $0) != 0 }
  }
}

/// The library's words for one of its error codes.
func libraryText(_ code: CInt) -> String {
  String(cString: gnutls_strerror(code))
}

/// `2026-05-31`, in UTC, for a time in seconds since 1970.
func calendarDate(_ time: Int) -> String {
  var time = time_t(time)
  var parts = tm()
  guard gmtime_r(&time, &parts) != nil else { return "\(time)" }
  func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
  return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
}

/// Whether a text is a DNS name: letters, digits, `-` and `.`, no empty label, at most 253 octets.
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
