// Channels: the channels between the server program and its helper.
//
// A socket pair for the command and its report, and two pipes for the octets inside TLS. Pipes, because a server
// program ends its output by closing the descriptor that it writes to, and because all UCSPI-TLS programs are tested
// with them. All six descriptors are close-on-exec until they are passed on, so each side's exec closes the other
// side's ends.

import Transport

/// One side's ends of the three channels.
struct ChannelEnds: ~Copyable {
  /// The command and its report.
  let control: Descriptor
  /// To read from the other side.
  let reading: Descriptor
  /// To write to the other side.
  let writing: Descriptor

  /// Keeps the three open across an exec.
  borrowing func keepOverExec() throws(SystemError) {
    try control.setCloseOnExec(false)
    try reading.setCloseOnExec(false)
    try writing.setCloseOnExec(false)
  }

  /// Closes every descriptor of the process except 0, 1, 2 and the three. Only for a process that then executes a
  /// program or ends: it closes descriptors regardless of their owners.
  borrowing func closeOthers() {
    let kept: InlineArray<3, CInt> = [control.number, reading.number, writing.number]
    DetachedProcess.closeAll(but: kept.span)
  }
}

/// The ends of both sides.
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
