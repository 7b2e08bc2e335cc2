// ManyClientsTests: a hundred clients at once.

import Foundation
import XCTest

final class ManyClientsTests: StarttlsdTestCase {
  private let clients = 100

  /// Half of them with STARTTLS, half of them with a message of 1 MiB; all are connected before the first one goes on.
  func testAHundredClientsAtOnceAreAllDeliveredOnceAndExactly() throws {
    let daemon = try daemon(["--max-connections-per-address", "\(clients)"])
    let folder = TestFolder()
    var generator = Numbers(state: 20)
    for number in 0..<clients {
      try folder.write(message(number, size: number % 4 < 2 ? 1 << 20 : 2000, &generator), to: "\(number)")
    }
    let result = try run(["/usr/bin/python3", "-Ic", program, folder.path, "\(daemon.port)", "\(clients)"], within: 6 * Deadline.seconds)
    XCTAssertEqual(result.errors, "")

    let sessions = try daemon.sessions(clients)
    XCTAssertEqual(sessions.filter { $0.outcome == "handoff: relayed" }.count, clients / 2)
    XCTAssertEqual(sessions.filter { $0.outcome == "abort mail: relayed" }.count, clients / 2)

    var delivered: [Int: Int] = [:]
    for message in daemon.messages {
      guard let line = message.body.split(separator: 10, maxSplits: 1).first,
        let number = Int(String(decoding: line.dropFirst(10), as: UTF8.self))
      else { return XCTFail("a message without its number: \(message.trace)") }
      delivered[number, default: 0] += 1
      let sent = folder.contents("\(number)").filter { $0 != 13 }
      if message.body != sent { XCTFail("message \(number): \(message.body.count) octets instead of \(sent.count)") }
      let name = number % 2 == 0 ? " by mx.example with ESMTPS (TLSv1.3 " : " by mx.example with ESMTP id "
      XCTAssertTrue(message.received.hasPrefix(name), message.received)
    }
    XCTAssertEqual(delivered, Dictionary(uniqueKeysWithValues: (0..<clients).map { ($0, 1) }))
  }

  /// A message with its number, lines of many lengths, some with dots in front.
  private func message(_ number: Int, size: Int, _ generator: inout Numbers) -> [UInt8] {
    var octets = Array("X-Number: \(number)\r\n\r\n".utf8)
    octets.reserveCapacity(size + 1002)
    while octets.count < size {
      let length = Int(generator.next() % 999)
      if length % 5 == 0 { octets += Array(repeating: UInt8(ascii: "."), count: min(length, 1 + length % 3)) }
      octets += Array(repeating: UInt8(0x20 + length % 95), count: length / 2)
      octets += [13, 10]
    }
    return octets
  }

  private struct Numbers {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
  }

  private let program = """
    import pathlib, smtplib, ssl, sys, threading
    folder, port, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    start = threading.Barrier(count)

    def deliver(number):
        message = (folder / str(number)).read_bytes()
        with smtplib.SMTP('127.0.0.1', port, local_hostname='client.example', timeout=60) as client:
            start.wait(60)
            if number % 2 == 0:
                client.starttls(context=context)
            client.sendmail(f'{number}@client.example', ['b@mx.example'], message)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """
}
