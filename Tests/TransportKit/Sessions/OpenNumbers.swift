// OpenNumbers: which descriptors of this process are open, found out by one call.

import Glibc

/// The numbers below 128 that are open. Tests use no more, and one poll is quicker than a walk through /proc.
struct OpenNumbers: Equatable {
  private(set) var numbers: [CInt] = []

  init() {
    DispatchDescriptors.areOpen
    var entries = (0..<128).map { pollfd(fd: $0, events: 0, revents: 0) }
    _ = poll(&entries, nfds_t(entries.count), 0)
    numbers = entries.filter { $0.revents & CShort(POLLNVAL) == 0 }.map(\.fd)
  }
}

/// What a number is open on, so that the same number on something else is not mistaken for it.
struct FileIdentity: Equatable {
  private let device: dev_t
  private let inode: ino_t

  /// nil where the number is not open.
  init?(_ number: CInt) {
    var status = stat()
    guard fstat(number, &status) == 0 else { return nil }
    (device, inode) = (status.st_dev, status.st_ino)
  }
}

/// Descriptors that are not the session's. They take the numbers that it has closed, so that a number closed twice is
/// one of theirs.
struct Bystanders {
  private static let limit = 6
  private let original: CInt
  private let identity: FileIdentity?
  private var numbers: [CInt] = []

  init() {
    original = open("/dev/null", O_RDWR | O_CLOEXEC)
    identity = FileIdentity(original)
  }

  /// Takes the lowest free number.
  mutating func takeOne() {
    if numbers.count < Bystanders.limit { numbers.append(dup(original)) }
  }

  /// Whether all of them are still what they were.
  var areUnharmed: Bool { ([original] + numbers).allSatisfy { FileIdentity($0) == identity } }

  func close() {
    for number in [original] + numbers { _ = Glibc.close(number) }
  }
}
