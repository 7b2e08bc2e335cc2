// swift-tools-version: 6.2
//
// Benchmarks, a package of its own so that whatever they need stays out of the product's.

import PackageDescription

let package = Package(
  name: "benchmarks",
  dependencies: [.package(name: "smtpstate", path: "..")],
  targets: [
    .executableTarget(
      name: "core-bench",
      dependencies: [.product(name: "SMTPState", package: "smtpstate")],
      swiftSettings: [.swiftLanguageMode(.v6)])
  ])
