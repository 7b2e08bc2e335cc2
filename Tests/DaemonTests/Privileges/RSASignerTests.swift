// RSASignerTests: libcrypto signs with RSA keys in the process of the keys, if it is there and if it is right.

import CKernel
import Foundation
import Glibc
import Transport
import XCTest

final class RSASignerTests: StarttlsdTestCase {
  private func rsa(_ name: String, in folder: TestFolder, _ kind: [String] = ["rsa:2048"]) throws -> Certificate {
    let made = Certificate(certificate: "\(folder.path)/\(name).pem", key: "\(folder.path)/\(name).key")
    try run(
      ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=mx.example", "-keyout", made.key, "-out", made.certificate, "-newkey"] + kind)
    return made
  }

  /// A daemon with a status socket.
  private func signing(
    in folder: TestFolder, _ certificate: Certificate, _ options: [String] = [], environment: [String: String] = [:]
  ) throws -> (RunningDaemon, status: String) {
    let path = folder.path + "/status"
    let daemon = try daemon(
      ["--status-socket", path] + options, backend: .script(ShellBackend.script()), environment: environment, certificate: certificate)
    return (daemon, path)
  }

  private struct Keys: Decodable {
    let signatures: Int
    let signer: String
    let byLibcrypto: Int
    enum CodingKeys: String, CodingKey {
      case signatures, signer = "rsa-signer", byLibcrypto = "signatures-by-libcrypto"
    }
  }

  private func keys(_ status: String) throws -> Keys {
    struct Report: Decodable { let keys: Keys }
    let output = try run([Programs.path("starttlsd"), "status", status, "--json"]).output
    return try JSONDecoder().decode(Report.self, from: Data(output.utf8)).keys
  }

  private func shakeHands(_ daemon: RunningDaemon, _ options: [String]) throws -> String {
    try run(
      ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(daemon.port)"] + options, input: "QUIT\r\n", inputEnds: false,
      expecting: nil
    ).output
  }

  /// The options of the program's start without a client.
  private func arguments(_ options: [String], _ certificate: Certificate) throws -> [String] {
    try [Programs.path("starttlsd")] + options
      + ["--allow-root", "--listen", "127.0.0.1:0", "--certificate", certificate.certificate, "--key", certificate.key, "--trusting-backend", "--", "/bin/cat"]
  }

  private func assertRefused(_ certificate: Certificate, _ folder: TestFolder, _ text: String) throws {
    let result = try run(
      arguments(["--rsa-signer", "libcrypto"], certificate), environment: ["LD_LIBRARY_PATH": folder.path], expecting: .exited(100))
    XCTAssertTrue(result.errors.contains(text) && result.errors.contains("--rsa-signer"), result.errors)
  }

  // MARK: What peers accept

  func testOpenSSLAcceptsEachForm() throws {
    let folder = TestFolder()
    let (plain, pss) = (try rsa("plain", in: folder), try rsa("pss", in: folder, ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]))
    let (daemon, status) = try signing(in: folder, plain, ["--certificate", pss.certificate, "--key", pss.key])
    let start = try keys(status)
    XCTAssertTrue(start.signer.hasPrefix("libcrypto (OpenSSL 3."), start.signer)
    var count = start.signatures
    XCTAssertGreaterThanOrEqual(count, 2, "each key is tried")
    for version in ["-tls1_2", "-tls1_3"] {
      for bits in ["256", "384", "512"] {
        var cases = [("rsa_pss_rsae_sha" + bits, "RSA-PSS"), ("rsa_pss_pss_sha" + bits, "RSA-PSS")]
        if version == "-tls1_2" { cases.append(("RSA+SHA" + bits, "RSA")) }
        for (algorithm, type) in cases {
          let output = try shakeHands(daemon, [version, "-sigalgs", algorithm])
          XCTAssertTrue(output.contains("Peer signing digest: SHA\(bits)\nPeer signature type: \(type)\n"), "\(version) \(algorithm): \(output)")
          count += 1
        }
      }
    }
    let end = try keys(status)
    XCTAssertEqual([end.signatures, end.byLibcrypto], [count, count])
    XCTAssertTrue(daemon.log.contains("RSA signatures by libcrypto (OpenSSL 3."), daemon.log)
  }

  func testGnuTLSAcceptsEachFormAlsoOfALargeKey() throws {
    let folder = TestFolder()
    let (daemon, status) = try signing(in: folder, try rsa("large", in: folder, ["rsa:4096"]))
    let cases = [("TLS1.2", "RSA-SHA256"), ("TLS1.2", "RSA-PSS-RSAE-SHA384"), ("TLS1.3", "RSA-PSS-RSAE-SHA256"), ("TLS1.3", "RSA-PSS-RSAE-SHA512")]
    for (version, signature) in cases {
      let result = try run(
        [
          "gnutls-cli", "--starttls-proto=smtp", "--insecure", "--priority", "NORMAL:-VERS-ALL:+VERS-\(version):-SIGN-ALL:+SIGN-\(signature)",
          "--port", "\(daemon.port)", "127.0.0.1",
        ], input: "QUIT\n")
      XCTAssertTrue(result.output.contains("-(\(signature))-("), result.output)
    }
    let keys = try keys(status)
    XCTAssertEqual(keys.byLibcrypto, keys.signatures)
  }

  // MARK: Where it is loaded

  func testOnlyTheProcessOfTheKeysLoadsIt() throws {
    let folder = TestFolder()
    let certificate = try rsa("plain", in: folder)
    func loaders(_ options: [String]) throws -> [String] {
      let daemon = try daemon(options, backend: .script(ShellBackend.script()), certificate: certificate)
      let processes = daemon.helpers.merging(["starttlsd": daemon.process]) { $1 }
      return try processes.filter { try text("/proc/\($0.value)/maps").contains("libcrypto") }.keys.sorted()
    }
    XCTAssertEqual(try loaders([]), ["starttlsd-key"])
    XCTAssertEqual(try loaders(["--rsa-signer", "gnutls"]), [])
    XCTAssertEqual(try loaders(["--key-in-process"]), [])
    let both = try run(arguments(["--key-in-process", "--rsa-signer", "libcrypto"], certificate), expecting: .exited(100))
    XCTAssertTrue(both.errors.contains("cannot be used with --key-in-process"), both.errors)
  }

  private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  /// A configuration could load modules, or engines with other code. Who opened this one would wait for its writer.
  func testNoConfigurationIsRead() throws {
    let folder = TestFolder()
    XCTAssertEqual(mkfifo(folder.path + "/openssl.cnf", 0o600), 0)
    let environment = ["OPENSSL_CONF": folder.path + "/openssl.cnf", "OPENSSL_MODULES": folder.path, "OPENSSL_ENGINES": folder.path]
    let (daemon, status) = try signing(in: folder, try rsa("plain", in: folder), environment: environment)
    XCTAssertTrue(try shakeHands(daemon, []).contains("Peer signature type: RSA-PSS\n"))
    let keys = try keys(status)
    XCTAssertEqual(keys.byLibcrypto, keys.signatures)
    XCTAssertGreaterThan(keys.byLibcrypto, 0)
  }

  /// With --inetd each client would wait for it.
  func testOneConnectionDoesNotLoadIt() throws {
    let folder = TestFolder()
    let certificate = try rsa("plain", in: folder)
    let mark = folder.path + "/loaded"
    try compile("#include <stdio.h>\n__attribute__((constructor)) static void mark(void) { fclose(fopen(\"\(mark)\", \"w\")); }\n", in: folder)
    for (options, isLoaded) in [([], false), (["--rsa-signer", "libcrypto"], true)] {
      let listener = try Listener(.loopback(port: 0))
      let client = try SMTPClient(port: XCTUnwrap(listener.address.port), from: nil, receiveBuffer: nil) { throw Failure("no TLS here") }
      defer { client.close() }
      // The client's side is connected a moment earlier.
      var entry = pollfd(fd: listener.descriptor.number, events: CShort(POLLIN), revents: 0)
      XCTAssertEqual(poll(&entry, 1, CInt(Deadline.seconds * 1000)), 1)
      guard case .connection(let connection) = listener.accept() else { return XCTFail("no client") }
      let end = SpawnedProgram.Stream.descriptor(connection.descriptor.number)
      let program = try SpawnedProgram(
        [Programs.path("starttlsd"), "--inetd", "--allow-root", "--trusting-backend", "--certificate", certificate.certificate, "--key", certificate.key]
          + options + ["--", "/bin/sh", "-c", "echo 220 mx.example ESMTP"],
        environment: ["LD_LIBRARY_PATH": folder.path], input: end, output: end, errors: .file(folder.path + "/log"))
      defer { program.kill() }
      if !isLoaded { try client.expect("220 ") }
      client.close()
      XCTAssertEqual(program.wait() == .exited(100), isLoaded, folder.text("log"))
      XCTAssertEqual(access(mark, F_OK) == 0, isLoaded)
    }
  }

  // MARK: Without it

  func testAMachineWithoutIt() throws {
    let folder = TestFolder()
    let certificate = try rsa("plain", in: folder)
    try folder.write(Array("no library\n".utf8), to: "libcrypto.so.3")
    let environment = ["LD_LIBRARY_PATH": folder.path]
    let (daemon, status) = try signing(in: folder, certificate, environment: environment)
    XCTAssertTrue(daemon.log.contains("RSA signatures by GnuTLS, which needs three times as long, because libcrypto cannot be used: "), daemon.log)
    XCTAssertTrue(try shakeHands(daemon, []).contains("Peer signature type: RSA-PSS\n"))
    let keys = try keys(status)
    XCTAssertEqual(keys.signer, "GnuTLS")
    XCTAssertEqual(keys.byLibcrypto, 0)
    try assertRefused(certificate, folder, "install OpenSSL 3 (libssl3), or use --rsa-signer auto")
    for (signer, end) in [("auto", SpawnedProgram.End.exited(0)), ("gnutls", .exited(0)), ("libcrypto", .exited(100))] {
      let checked = try run(arguments(["check", "--rsa-signer", signer], certificate), environment: environment, expecting: end)
      XCTAssertTrue((checked.output + checked.errors).contains(signer == "libcrypto" ? "--rsa-signer libcrypto: " : "RSA signatures by GnuTLS"), checked.output)
    }
  }

  func testALibraryWithoutTheFunctions() throws {
    let folder = TestFolder()
    try compile("", in: folder)
    try assertRefused(try rsa("plain", in: folder), folder, "libcrypto.so.3 has no function OPENSSL_init_crypto")
  }

  // MARK: Faults

  /// A library in front of the real one, whose signatures are wrong.
  private func compile(_ text: String, in folder: TestFolder, _ options: [String] = []) throws {
    let source = try folder.write(Array(text.utf8), to: "library.c")
    try run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcrypto.so.3", "-Wl,--no-as-needed", "-o", folder.path + "/libcrypto.so.3", source] + options)
  }

  private func compileFault(in folder: TestFolder, _ options: [String]) throws {
    // Under another name, of the same length, so that both can be loaded.
    let found = try run(["cc", "-print-file-name=libcrypto.so.3"]).output.trimmingCharacters(in: .newlines)
    var library = try Data(contentsOf: URL(fileURLWithPath: found))
    let (name, other) = (Data("libcrypto.so.3\0".utf8), Data("libcryptx.so.3\0".utf8))
    library.replaceSubrange(try XCTUnwrap(library.range(of: name)), with: other)
    try library.write(to: URL(fileURLWithPath: folder.path + "/libcryptx.so.3"))
    try compile(RSASignerTests.fault, in: folder, options + [folder.path + "/libcryptx.so.3", "-Wl,-rpath,$ORIGIN"])
  }

  func testWrongSignaturesNeverLeaveTheProcess() throws {
    let folder = TestFolder()
    let certificate = try rsa("plain", in: folder)
    try compileFault(in: folder, ["-DIS_WRONG"])
    let (daemon, status) = try signing(in: folder, certificate, environment: ["LD_LIBRARY_PATH": folder.path])
    XCTAssertTrue(daemon.log.contains("warning starttlsd: libcrypto makes wrong signatures with an RSA key, so GnuTLS signs with that key"), daemon.log)
    XCTAssertTrue(try shakeHands(daemon, []).contains("Peer signature type: RSA-PSS\n"))
    let keys = try keys(status)
    XCTAssertTrue(keys.signer.hasPrefix("libcrypto (OpenSSL 3."), keys.signer)
    XCTAssertEqual(keys.byLibcrypto, 0)
    try assertRefused(certificate, folder, "\(certificate.key): libcrypto cannot sign with it")
  }

  /// A version that makes another system call would end the process of the keys with the first signature.
  func testALibraryThatNeedsAForbiddenCallIsNotUsed() throws {
    let folder = TestFolder()
    let certificate = try rsa("plain", in: folder)
    try compileFault(in: folder, ["-DOPENS_A_FILE"])
    let (daemon, _) = try signing(in: folder, certificate, environment: ["LD_LIBRARY_PATH": folder.path])
    XCTAssertTrue(daemon.log.contains("cannot sign with few system calls"), daemon.log)
    XCTAssertTrue(try shakeHands(daemon, []).contains("Peer signature type: RSA-PSS\n"))
    try assertRefused(certificate, folder, "cannot sign with few system calls")
  }

  private static let fault = """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <stddef.h>

    int EVP_PKEY_sign(void *context, unsigned char *signature, size_t *length, const unsigned char *octets, size_t count) {
      int (*real)(void *, unsigned char *, size_t *, const unsigned char *, size_t);
      *(void **)&real = dlsym(RTLD_NEXT, "EVP_PKEY_sign");
      int code = real(context, signature, length, octets, count);
    #ifdef IS_WRONG
      if (code > 0) signature[*length - 1] ^= 1;
    #endif
    #ifdef OPENS_A_FILE
      open("/dev/null", O_RDONLY);
    #endif
      return code;
    }
    """
}
