// Channels: what runs between the server program and its helper.
//
// A pair of sockets for the command and its answer, and two pipes for the octets inside TLS: pipes, because a server
// program says its end by closing the descriptor that it writes to, and because all those that know UCSPI-TLS have been
// tried with them. All six descriptors are close-on-exec until they are handed over, so each side's exec closes the
// other side's ends.

import Transport

/// One side's ends of the three channels.
struct ChannelEnds: ~Copyable {
  /// The command and its answer.
  let control: Descriptor
  /// What is read from the other side.
  let reading: Descriptor
  /// What is written to the other side.
  let writing: Descriptor

  /// Makes the three survive an exec.
  borrowing func keepOverExec() throws(SystemError) {
    try control.setCloseOnExec(false)
    try reading.setCloseOnExec(false)
    try writing.setCloseOnExec(false)
  }

  /// Closes every descriptor of the process but 0, 1, 2 and the three. Only for a process that then executes a program
  /// or ends: it closes what others own.
  borrowing func closeOthers() {
    let kept: InlineArray<3, CInt> = [control.number, reading.number, writing.number]
    DetachedProcess.closeAll(but: kept.span)
  }
}

/// Both sides' ends.
struct Channels: ~Copyable {
  let program: ChannelEnds
  let helper: ChannelEnds

  init() throws(SystemError) {
    let control = try Kernel.socketPair()
    let programControl = Descriptor(adopting: control.0)
    let helperControl = Descriptor(adopting: control.1)
    let deciphered = try Kernel.pipe()
    let programReading = Descriptor(adopting: deciphered.0)
    let helperWriting = Descriptor(adopting: deciphered.1)
    let clear = try Kernel.pipe()
    let helperReading = Descriptor(adopting: clear.0)
    let programWriting = Descriptor(adopting: clear.1)
    program = ChannelEnds(control: programControl, reading: programReading, writing: programWriting)
    helper = ChannelEnds(control: helperControl, reading: helperReading, writing: helperWriting)
  }
}
