// swift-tools-version: 6.2
//
// The package: one decision (SMTPState), one thin layer that carries it out (Transport, and TransportTLS for
// the TLS engine), and the programs. Dependencies point one way: Daemon -> Transport -> SMTPState.

import PackageDescription

/// `make fuzz` builds the fuzzers in place of the tests: the libraries and what the tests are made of, with libFuzzer's
/// counters and the address sanitizer, in C the sanitizer of undefined behaviour too.
let isFuzzing = Context.environment["SMTPSTATE_FUZZ"] != nil

/// Every Swift target is built alike: Swift 6 mode, warnings are errors, imports and existentials explicit.
let settings: [SwiftSetting] = (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"]), .define("FUZZING")] : []) + [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let tests: [Target] = [
  .testTarget(name: "PropertyTests", dependencies: ["SMTPState"], swiftSettings: settings),
  // The property tests once more, with both sessions in step: Swift's and C's.
  .testTarget(
    name: "CInterfaceTests",
    dependencies: ["SMTPState", "CSMTPState", "CInterface"],
    exclude: ["Properties/Explorer", "Properties/KitTests.swift", "Properties/TranscriptTests.swift"],
    swiftSettings: settings),
  .testTarget(
    name: "TransportTests",
    dependencies: ["SMTPState", "Transport", "TransportTLS", "CKernel", "ProgramSupport"],
    swiftSettings: settings),
  .testTarget(
    name: "DaemonTests",
    dependencies: ["CKernel", "Transport", "MaildirSMTPD", "RelayProbe", "ProgramSupport"],
    swiftSettings: settings),
]

/// The tests' kit, and what the property tests are made of, without XCTest.
let kit = ["Kit/Choices.swift", "Kit/Notation.swift", "Kit/Property.swift", "Kit/Shrinking.swift"]
let properties =
  kit + [
    "Caller.swift", "Dialogue.swift", "DialogueLines.swift", "Event.swift", "Fuzz", "Lockstep.swift", "Oracle.swift",
    "OracleClient.swift", "OracleLines.swift", "OracleServer.swift", "OracleSwitch.swift", "Play.swift", "Promises.swift",
    "Transcript.swift",
  ]

/// A fuzzer: a module of the tests without those that need XCTest, and a program of two lines that libFuzzer runs.
func fuzzer(_ name: String, _ module: Target.Dependency) -> Target {
  .executableTarget(
    name: name, dependencies: ["FuzzSupport", module], path: "Tests/Fuzz/\(name)", swiftSettings: settings,
    linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
}

let fuzzers: [Target] = [
  .target(name: "FuzzSupport", path: "Tests/Fuzz/Support", swiftSettings: settings),
  .target(
    name: "FuzzProperties", dependencies: ["SMTPState"], path: "Tests/PropertyTests",
    sources: properties, swiftSettings: settings),
  fuzzer("SessionFuzz", "FuzzProperties"),
  fuzzer("DifferentialFuzz", "FuzzProperties"),
  fuzzer("EHLORewriteFuzz", "FuzzProperties"),
  .target(
    name: "FuzzCInterface", dependencies: ["SMTPState", "CSMTPState", "CInterface"], path: "Tests/CInterfaceTests",
    sources: ["Differences.swift", "Numbers.swift", "Session.swift"] + properties.map { "Properties/\($0)" },
    swiftSettings: settings),
  fuzzer("CInterfaceFuzz", "FuzzCInterface"),
  .target(
    name: "FuzzTransport", dependencies: ["SMTPState", "Transport", "TransportTLS", "CKernel", "ProgramSupport"], path: "Tests/TransportTests",
    exclude: ["Sessions/FaultInjectionTests.swift", "Sessions/TransportFuzzTests.swift"],
    sources: kit + ["Fuzz/TLSInfoFuzz.swift", "Fuzz/UCSPIEnvironmentFuzz.swift", "Sessions"], swiftSettings: settings),
  fuzzer("TransportFuzz", "FuzzTransport"),
  fuzzer("UCSPIEnvironmentFuzz", "FuzzTransport"),
  fuzzer("TLSInfoFuzz", "FuzzTransport"),
  .target(
    name: "FuzzMaildirSMTPD", dependencies: ["MaildirSMTPD"], path: "Tests/DaemonTests",
    sources: kit + ["MaildirSMTPD/ScriptedSession.swift", "MaildirSMTPD/SMTPDFuzz.swift"], swiftSettings: settings),
  fuzzer("SMTPDFuzz", "FuzzMaildirSMTPD"),
]

let package = Package(
  name: "smtpstate",
  products: [
    .library(name: "SMTPState", targets: ["SMTPState"]),
    .library(name: "Transport", targets: ["Transport"]),
    .library(name: "TransportTLS", targets: ["TransportTLS"]),
    .executable(name: "starttlsd", targets: ["starttlsd"]),
    .executable(name: "maildir-smtpd", targets: ["maildir-smtpd"]),
    .executable(name: "ucspi-tlsd", targets: ["ucspi-tlsd"]),
    .executable(name: "tlsd-io", targets: ["tlsd-io"]),
    .executable(name: "starttls-proxy", targets: ["starttls-proxy"]),
  ],
  traits: [
    .trait(name: "Daemon", description: "The packages that starttlsd needs. Without it a user of the libraries fetches nothing."),
    .default(enabledTraits: ["Daemon"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    // The decision. Imports nothing.
    .target(name: "SMTPState", swiftSettings: settings),

    // The decision for C: smtpstate.h, and the functions behind it. `make c-library` builds them into one module with SMTPState.
    .systemLibrary(name: "CSMTPState"),
    .target(name: "CInterface", dependencies: ["SMTPState", "CSMTPState"], swiftSettings: settings),

    // Descriptors, flags, the driver. No TLS library.
    .target(
      name: "CKernel",
      cSettings: isFuzzing
        ? [.unsafeFlags(["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=undefined"])] : []),
    .target(name: "Transport", dependencies: ["SMTPState", "CKernel"], swiftSettings: settings),

    // The only Swift that links GnuTLS.
    .systemLibrary(name: "CGnuTLS", pkgConfig: "gnutls", providers: [.apt(["libgnutls28-dev"])]),
    .target(name: "TransportTLS", dependencies: ["Transport", "CGnuTLS"], swiftSettings: settings),

    // What the programs share: options, texts, standard streams, the version.
    .target(name: "ProgramSupport", dependencies: ["Transport", "CKernel"], swiftSettings: settings),

    // The programs.
    .target(
      name: "RelayProbe",
      dependencies: ["Transport", "CKernel"],
      path: "Sources/Daemon/RelayProbe",
      swiftSettings: settings),
    .target(
      name: "MaildirSMTPD",
      dependencies: ["ProgramSupport", "Transport", "CKernel"],
      path: "Sources/Daemon/MaildirSMTPD",
      swiftSettings: settings),
    .executableTarget(
      name: "maildir-smtpd",
      dependencies: ["MaildirSMTPD"],
      path: "Sources/Daemon/maildir-smtpd",
      swiftSettings: settings),
    .executableTarget(
      name: "starttlsd",
      dependencies: [
        "SMTPState", "Transport", "TransportTLS", "CKernel", "RelayProbe", "ProgramSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser", condition: .when(traits: ["Daemon"])),
        .product(name: "HeapModule", package: "swift-collections", condition: .when(traits: ["Daemon"])),
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Daemon"])),
      ],
      path: "Sources/Daemon/starttlsd",
      swiftSettings: settings),

    .executableTarget(
      name: "ucspi-tlsd",
      dependencies: ["ProgramSupport", "Transport", "CKernel"],
      path: "Sources/Daemon/ucspi-tlsd",
      swiftSettings: settings),
    .executableTarget(
      name: "tlsd-io",
      dependencies: ["ProgramSupport", "Transport", "TransportTLS", "CKernel"],
      path: "Sources/Daemon/tlsd-io",
      swiftSettings: settings),
    .executableTarget(
      name: "starttls-proxy",
      dependencies: ["SMTPState", "Transport", "CKernel", "RelayProbe", "ProgramSupport"],
      path: "Sources/Daemon/starttls-proxy",
      swiftSettings: settings),
  ] + (isFuzzing ? fuzzers : tests)
)
