// Fuzzer: libFuzzer runs a target.
//
// A target answers for one input: true, false for an input that means nothing and is not worth keeping, or throws what is
// wrong. What is thrown stops the process, as a trap does, and libFuzzer keeps the input.

import Glibc

/// libFuzzer's entry point for programs that have their own `main`: compiler-rt, FuzzerInterface.h.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ run: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

public enum Fuzzer {
  nonisolated(unsafe) private static var target: ([UInt8]) throws -> Bool = { _ in false }

  /// Hands the process over to libFuzzer, with the options of its command line.
  public static func run(_ target: @escaping ([UInt8]) throws -> Bool) -> Never {
    Fuzzer.target = target
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    let status = runDriver(&count, &arguments) { octets, count in
      do {
        // -1: not to be kept.
        return try Fuzzer.target(Array(UnsafeBufferPointer(start: octets, count: count))) ? 0 : -1
      } catch {
        Array("Falsified: \(error)\n".utf8).withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
        abort()
      }
    }
    exit(status)
  }
}
