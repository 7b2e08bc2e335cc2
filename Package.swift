// swift-tools-version: 6.2
//
// The package: one decision (SMTPState), one thin layer that carries it out (Transport, and TransportTLS for
// the TLS engine), and the programs. Dependencies point one way: Daemon -> Transport -> SMTPState.

import PackageDescription

/// `make fuzz` builds the fuzzers in place of the tests: the libraries and the kits of the tests, with libFuzzer's
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

/// What the tests and the fuzzers are made of. No kit needs XCTest.
let kits: [Target] = [
  // Random choices that shrink, properties, the notation of the fixtures.
  .target(name: "PropertyKit", path: "Tests/PropertyKit", swiftSettings: settings),
  // The oracle, callers of a session, random dialogues, transcripts.
  .target(name: "SessionKit", dependencies: ["PropertyKit", "SMTPState"], path: "Tests/SessionKit", swiftSettings: settings),
  // The same sources again, with both sessions in step: Swift's and C's.
  .target(
    name: "CSessionKit", dependencies: ["PropertyKit", "SMTPState", "CSMTPState", "CInterface"], path: "Tests/CSessionKit",
    swiftSettings: settings),
  // Sessions of a driver on real sockets, with a kernel that fails.
  .target(
    name: "TransportKit",
    dependencies: ["PropertyKit", "SMTPState", "Transport", "TransportTLS", "CGnuTLS", "CKernel", "ProgramSupport"],
    path: "Tests/TransportKit", swiftSettings: settings),
  // Sessions of maildir-smtpd without a process.
  .target(name: "MaildirKit", dependencies: ["PropertyKit", "MaildirSMTPD"], path: "Tests/MaildirKit", swiftSettings: settings),
]

let tests: [Target] = [
  // Properties and corpora as XCTest cases.
  .target(name: "PropertyCases", dependencies: ["PropertyKit"], path: "Tests/PropertyCases", swiftSettings: settings),
  .testTarget(name: "PropertyTests", dependencies: ["SessionKit", "PropertyKit", "PropertyCases", "SMTPState", "SessionRecording", "Transport"], swiftSettings: settings),
  .testTarget(
    name: "CInterfaceTests",
    dependencies: ["CSessionKit", "PropertyKit", "PropertyCases", "SMTPState", "CSMTPState", "CInterface"],
    exclude: ["Properties/Explorer", "Properties/KitTests.swift", "Properties/TranscriptTests.swift", "Properties/Recording"],
    swiftSettings: settings + [.define("C_INTERFACE")]),
  .testTarget(
    name: "TransportTests",
    dependencies: [
      "TransportKit", "PropertyKit", "PropertyCases", "SMTPState", "Transport", "TransportTLS", "CGnuTLS", "CKernel", "ProgramSupport",
    ],
    swiftSettings: settings),
  .testTarget(
    name: "DaemonTests",
    dependencies: [
      "MaildirKit", "TransportKit", "PropertyKit", "PropertyCases", "CKernel", "Transport", "ClientAccess", "MaildirSMTPD", "RelayProbe",
      "ProgramSupport", "SMTPProbe", "TOMLText", "SessionRecording",
    ],
    // What these tests start is optimised. Optimising the tests themselves would take four times as long as compiling them,
    // and they mostly wait. Users of the package never build a test target, so the flag does not keep it from being used.
    swiftSettings: settings + [.unsafeFlags(["-Onone"], .when(configuration: .release))]),
]

/// A fuzzer: a program of two lines that libFuzzer runs.
func fuzzer(_ name: String, _ kit: Target.Dependency) -> Target {
  .executableTarget(
    name: name, dependencies: ["FuzzSupport", kit], path: "Tests/Fuzz/\(name)", swiftSettings: settings,
    linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
}

let fuzzers: [Target] = [
  .target(name: "FuzzSupport", path: "Tests/Fuzz/Support", swiftSettings: settings),
  fuzzer("SessionFuzz", "SessionKit"),
  fuzzer("DifferentialFuzz", "SessionKit"),
  fuzzer("EHLORewriteFuzz", "SessionKit"),
  fuzzer("CInterfaceFuzz", "CSessionKit"),
  fuzzer("TransportFuzz", "TransportKit"),
  fuzzer("UCSPIEnvironmentFuzz", "TransportKit"),
  fuzzer("TLSInfoFuzz", "TransportKit"),
  fuzzer("SMTPDFuzz", "MaildirKit"),
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
    .executable(name: "starttls-check", targets: ["starttls-check"]),
    .executable(name: "starttls-replay", targets: ["starttls-replay"]),
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

    // The decision for C: smtpstate.h, and its functions. `make c-library` builds them into one module with SMTPState.
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
    // libcrypto, loaded at run time if it is there: no library to link, no header.
    .target(
      name: "CLibcrypto",
      cSettings: isFuzzing
        ? [.unsafeFlags(["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=undefined"])] : []),
    .target(name: "TransportTLS", dependencies: ["Transport", "CGnuTLS", "CLibcrypto"], swiftSettings: settings),

    // What the programs share: options, texts, standard streams, the version.
    .target(name: "ProgramSupport", dependencies: ["Transport", "CKernel"], swiftSettings: settings),

    // The programs.
    .target(
      name: "RelayProbe",
      dependencies: ["Transport", "CKernel"],
      path: "Sources/Daemon/RelayProbe",
      swiftSettings: settings),
    // The limits of one address, access rules, and what one client's failures mean for the others.
    .target(
      name: "ClientAccess",
      dependencies: ["Transport"],
      path: "Sources/Daemon/ClientAccess",
      swiftSettings: settings),
    // The text of configuration files.
    .target(name: "TOMLText", path: "Sources/Daemon/TOMLText", swiftSettings: settings),
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
        "SMTPState", "Transport", "TransportTLS", "CKernel", "ClientAccess", "RelayProbe", "ProgramSupport", "TOMLText", "SessionRecording",
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

    // Recordings of sessions: made by starttlsd, decided again by starttls-replay.
    .target(
      name: "SessionRecording", dependencies: ["SMTPState", "Transport"], path: "Sources/Daemon/SessionRecording", swiftSettings: settings),
    .executableTarget(
      name: "starttls-replay",
      dependencies: ["SessionRecording", "Transport", "ProgramSupport"],
      path: "Sources/Daemon/starttls-replay",
      swiftSettings: settings),

    // The client's side: the scripts of checks, without input and output, and the program that runs them.
    .target(name: "SMTPProbe", path: "Sources/Daemon/SMTPProbe", swiftSettings: settings),
    .executableTarget(
      name: "starttls-check",
      dependencies: [
        "SMTPProbe", "Transport", "TransportTLS", "CGnuTLS", "CKernel", "ProgramSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser", condition: .when(traits: ["Daemon"])),
      ],
      path: "Sources/Daemon/starttls-check",
      swiftSettings: settings),
  ] + kits + (isFuzzing ? fuzzers : tests)
)
