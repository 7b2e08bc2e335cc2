// ServiceManagerOptions: how starttlsd is started: by itself, or by a service manager or super-server that passes sockets or a connection.

import ArgumentParser

struct ServiceManagerOptions: ParsableArguments {
  @Flag(
    help: """
      Serve one client on standard input and output, as inetd, xinetd, tcpserver and systemd (Accept=yes) start programs, \
      then exit.
      """)
  var inetd = false

  @Option(
    name: .customLong("notification-fd"),
    help: ArgumentHelp(
      "Descriptor that gets a newline when starttlsd is ready, as s6 expects.", valueName: "number"))
  var notificationDescriptor: Int32?
}
