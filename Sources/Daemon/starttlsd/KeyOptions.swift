// KeyOptions: the options about private keys.

import ArgumentParser

struct KeyOptions: ParsableArguments {
  @Flag(help: "Keep the private keys in the process that serves clients, without a process of their own.")
  var keyInProcess = false
}
