// swift-tools-version: 6.2
//
// Benchmarks: a separate package, so that what they need is not a dependency of the product.

import PackageDescription

let package = Package(
  name: "benchmarks",
  dependencies: [.package(name: "smtpstate", path: "..", traits: [])],
  targets: [
    .executableTarget(
      name: "core-bench",
      dependencies: [.product(name: "SMTPState", package: "smtpstate")],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .target(name: "HandshakePeer", linkerSettings: [.linkedLibrary("gnutls")]),
    .executableTarget(
      name: "handshake-bench",
      dependencies: [
        "HandshakePeer", .product(name: "Transport", package: "smtpstate"), .product(name: "TransportTLS", package: "smtpstate"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),
  ])
