// FoldersAbove: the folders that lead to a configuration file, also over links. Whoever can change one of them can put another file
// into the place of this one.
//
// Contract: each folder and each link belongs to root or to this user, and nobody else can write to a folder, unless it has the sticky
// bit: there, only the owner of a name can change it.
//
// Failure: a ConfigurationError that names the folder or the link.

import Glibc
import Transport

enum FoldersAbove {
  /// As many links as the kernel follows.
  private static let linksLimit = 40

  /// Checks the way to a file that exists.
  static func check(_ path: String) throws(ConfigurationError) {
    var links = 0
    var folder = ""
    var names = Array((try absolute(path)).split(separator: "/").map(String.init).reversed())
    try check(folder: "/", path)
    while let name = names.popLast() {
      if name == "." { continue }
      if name == ".." {
        folder = String(folder.prefix(upTo: folder.lastIndex(of: "/") ?? folder.startIndex))
        continue
      }
      let next = folder + "/" + name
      switch try status(next).st_mode & S_IFMT {
      case S_IFDIR:
        try check(folder: next, path)
        folder = next
      case S_IFLNK:
        links += 1
        guard links <= linksLimit else { throw .usage("\(path): \(SystemError("open", ELOOP))") }
        try checkOwner(try status(next), "the link \(next)", path)
        let target = try target(of: next)
        if target.hasPrefix("/") { folder = "" }
        names += target.split(separator: "/").map(String.init).reversed()
      default: return
      }
    }
  }

  private static func check(folder: String, _ path: String) throws(ConfigurationError) {
    let status = try status(folder)
    try checkOwner(status, "the folder \(folder)", path)
    guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 || status.st_mode & S_ISVTX != 0 else {
      throw .usage("\(path): the folder \(folder) can be written by others than its owner, and \(reason): use chmod go-w")
    }
  }

  private static func checkOwner(_ status: stat, _ what: String, _ path: String) throws(ConfigurationError) {
    guard status.st_uid == 0 || status.st_uid == geteuid() else {
      throw .usage("\(path): \(what) belongs to the user with the number \(status.st_uid), and \(reason): use chown")
    }
  }

  private static let reason = "whoever can write to it decides what starttlsd starts"

  private static func status(_ path: String) throws(ConfigurationError) -> stat {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw .usage("\(path): \(SystemError.last("lstat"))") }
    return status
  }

  private static func target(of link: String) throws(ConfigurationError) -> String {
    var octets = [CChar](repeating: 0, count: 4096)
    let count = readlink(link, &octets, octets.count)
    guard count > 0 else { throw .usage("\(link): \(SystemError.last("readlink"))") }
    return String(decoding: octets.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func absolute(_ path: String) throws(ConfigurationError) -> String {
    if path.hasPrefix("/") { return path }
    var octets = [CChar](repeating: 0, count: 4096)
    guard getcwd(&octets, octets.count) != nil else { throw .system("\(path): \(SystemError.last("getcwd"))") }
    return String(decoding: octets.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/" + path
  }
}
