// swift-tools-version: 6.2
//
// An SMTP server on SwiftNIO. SMTPState decides about STARTTLS. This is a separate package, so that a package that links
// SMTPState alone does not fetch SwiftNIO.

import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "nio-smtpd",
  dependencies: [
    .package(name: "smtpstate", path: "../.."),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
  ],
  targets: [
    // For reuse in other servers on SwiftNIO: an SMTPConversation as a channel handler.
    .target(
      name: "NIOSMTPState",
      dependencies: [
        .product(name: "SMTPState", package: "smtpstate"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOTLS", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: settings),

    // An SMTP server without TLS. It does not depend on the target above.
    .target(
      name: "SMTPServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: settings),

    .executableTarget(
      name: "nio-smtpd",
      dependencies: [
        "NIOSMTPState", "SMTPServer",
        .product(name: "SMTPState", package: "smtpstate"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: settings),

    .testTarget(
      name: "NIOSMTPDTests",
      dependencies: [
        "NIOSMTPState", "SMTPServer",
        .product(name: "SMTPState", package: "smtpstate"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      swiftSettings: settings),
  ]
)
