// Processors: how many processors this process may use: those of its affinity mask (sched_setaffinity(2), cpuset), and no more than
// the CPU quota of its control groups (version 2, cpu.max), rounded up.
//
// Failure: what cannot be read does not count. The result is at least 1.

import CKernel
import Glibc
import Transport

enum Processors {
  static var count: Int {
    let affinity = Int(kernel_processors())
    return max(1, min(affinity > 0 ? affinity : 1, quota ?? Int.max))
  }

  /// The smallest quota of the control group and of those above it; nil if there is none.
  private static var quota: Int? {
    // `0::/system.slice/starttlsd.service`
    guard let line = text("/proc/self/cgroup").split(separator: "\n").first(where: { $0.hasPrefix("0::/") }) else { return nil }
    var folder = "/sys/fs/cgroup"
    var quotas = [quota(text(folder + "/cpu.max"))]
    for name in line.dropFirst(4).split(separator: "/") {
      folder += "/\(name)"
      quotas.append(quota(text(folder + "/cpu.max")))
    }
    return quotas.compactMap { $0 }.min()
  }

  /// `150000 100000` is one and a half processors, so 2; nil for `max 100000`.
  private static func quota(_ text: String) -> Int? {
    let numbers = text.split { $0 == " " || $0 == "\n" }.map { Int($0) }
    guard numbers.count == 2, let time = numbers[0], let period = numbers[1], time > 0, period > 0 else { return nil }
    return time / period + (time % period == 0 ? 0 : 1)
  }

  /// The beginning of a file of the kernel; empty if it cannot be read.
  private static func text(_ path: String) -> String {
    guard let number = try? Kernel.open(path, O_RDONLY) else { return "" }
    let file = Descriptor(adopting: number)
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = read(file.number, &buffer, buffer.count)
    return String(decoding: buffer[..<max(0, count)], as: UTF8.self)
  }
}
