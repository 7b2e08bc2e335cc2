// SeparateProcess: reads or creates private keys in a process that ends when that is done.
//
// So no key is left in the memory of a process that then serves clients or starts a server program.

import CKernel
import Glibc
import Transport

enum SeparateProcess {
  private static let line: Int32 = 1
  private static let failed: Int32 = 2
  private static let done: Int32 = 3

  /// Runs `body` in a process of its own, and returns its lines, or throws its error.
  static func lines(
    _ body: () throws(ConfigurationError) -> [String]
  ) throws(ConfigurationError) -> [String] {
    do {
      let process = try ForkedProcess("starttlsd-key", keepsErrors: true) { socket in
        _ = kernel_set_undumpable()
        do throws(ConfigurationError) {
          for text in try body() { give(HelperMessage(line, payload: Array(text.utf8.prefix(4_000))), to: socket) }
          give(HelperMessage(done), to: socket)
        } catch {
          give(HelperMessage(failed, first: error.code, payload: Array(error.description.utf8.prefix(4_000))), to: socket)
        }
        _exit(0)
      }
      return try received(process)
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw .system("cannot start a process: \(error)")
    }
  }

  private static func give(_ message: HelperMessage, to socket: borrowing MessageSocket) {
    do {
      try socket.send(message.octets ?? [], isWaiting: true)
    } catch {
      _exit(111)
    }
  }

  private static func received(_ process: borrowing ForkedProcess) throws(ConfigurationError) -> [String] {
    var lines: [String] = []
    while true {
      switch process.socket.receive(limit: HelperMessage.limit) {
      case .nothing:
        var entry = pollfd(fd: process.socket.descriptor.number, events: CShort(POLLIN), revents: 0)
        _ = poll(&entry, 1, -1)
      case .ended:
        throw .system("the process that reads the private keys \(process.howItEnded())")
      case .message(let message):
        guard let known = HelperMessage(message.octets) else {
          throw .system("the process that reads the private keys sent a message of an unknown form")
        }
        let text = String(decoding: known.payload, as: UTF8.self)
        switch known.kind {
        case line: lines.append(text)
        case failed: throw ConfigurationError(description: text, code: known.first)
        default:
          _ = process.end(within: 1_000)
          return lines
        }
      }
    }
  }
}
