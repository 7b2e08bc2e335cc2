// MetricsSocket: the metrics over HTTP, at a Unix socket or a loopback address: GET /metrics.
//
// There is no authentication and no encryption, so no other address is possible. A monitoring system on another machine gets them
// through its agent.

import Glibc
import Logging
import Transport

extension ReportSocket {
  /// The socket of --metrics, of a process without a supervisor.
  static func metrics(_ daemon: Daemon, _ address: SocketAddress) throws(ConfigurationError) -> ReportSocket {
    do throws(SystemError) {
      return try ReportSocket(daemon, address, inherited: nil, requestLimit: MetricsSocket.requestLimit) { [unowned daemon] client, request in
        switch MetricsSocket.answer(request) {
        case nil: return false
        case .response(let octets)?: client.send(octets)
        case .metrics(let isBodySent)?: client.send(MetricsSocket.response(daemon.metricsText, isBodySent: isBodySent))
        }
        return true
      }
    } catch {
      throw .system("--metrics \(address): \(error)")
    }
  }
}

enum MetricsSocket {
  /// The address of --metrics: a Unix socket, or a loopback address in numbers.
  static func address(_ text: String) throws(ConfigurationError) -> SocketAddress {
    let address: SocketAddress
    do {
      address = try SocketAddress(parsing: text)
    } catch {
      throw .usage("--metrics \(error)")
    }
    guard address.isLoopback else {
      throw .usage("--metrics \(text): give unix:path or a loopback address, since everybody who can connect can read them")
    }
    return address
  }

  static let requestLimit = 4_096

  /// What a request asks for.
  enum Answer {
    /// It has this response.
    case response([UInt8])
    /// The metrics, or with HEAD the header of their response alone.
    case metrics(isBodySent: Bool)
  }

  /// The answer to an HTTP request; nil if the request is not complete.
  static func answer(_ request: [UInt8]) -> Answer? {
    let text = String(decoding: request, as: UTF8.self)
    guard text.utf8.count < requestLimit else { return .response(response("431 Request Header Fields Too Large", "The request is too long.\n")) }
    // Octets: CRLF is one character.
    guard ends(request) else { return nil }
    let words = text.prefix { !$0.isNewline }.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return .response(response("400 Bad Request", "This is HTTP/1.1.\n")) }
    guard words[0] == "GET" || words[0] == "HEAD" else {
      return .response(response("405 Method Not Allowed", "Use GET.\n", more: "Allow: GET, HEAD\r\n"))
    }
    guard words[1].prefix(while: { $0 != "?" }) == "/metrics" else { return .response(response("404 Not Found", "Use /metrics.\n")) }
    return .metrics(isBodySent: words[0] == "GET")
  }

  /// The response with the metrics.
  static func response(_ metrics: String, isBodySent: Bool) -> [UInt8] {
    response("200 OK", metrics, type: MetricsText.contentType, isBodySent: isBodySent)
  }

  /// True if the request's header is complete: an empty line.
  private static func ends(_ request: [UInt8]) -> Bool {
    let lineFeeds = request.indices.filter { request[$0] == 0x0A }
    return lineFeeds.contains { index in
      let next = request[(index + 1)...]
      return next.first == 0x0A || next.starts(with: [0x0D, 0x0A])
    }
  }

  private static func response(
    _ status: String, _ body: String, type: String = "text/plain; charset=utf-8", more: String = "", isBodySent: Bool = true
  ) -> [UInt8] {
    let head = "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n\(more)Connection: close\r\n\r\n"
    return Array((head + (isBodySent ? body : "")).utf8)
  }
}

extension Daemon {
  /// The metrics now.
  var metricsText: String {
    let startedAt = time(nil) - (Clock.now() - self.startedAt) / 1000
    return MetricsText.text(metrics, statusReport, startedAt: startedAt)
  }
}
