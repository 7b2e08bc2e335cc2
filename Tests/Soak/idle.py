"""idle: the memory of starttlsd for each session that waits, in clear and inside TLS.

The servers are reached by an address, and are one process of the soak: so no memory of programs is measured.
"""

import os
import resource
import signal
import socket
import selectors

import clients
import measure

CLEAR = 2000
TLS = 1000
# What a session takes of a client's or server's descriptors, and what the daemon may reserve for one.
RESERVE = 5


def server(listener):
    """Greets, and answers every line with 250."""
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                waiting.register(connection, selectors.EVENT_READ)
                connection.sendall(b"220 backend\r\n")
                continue
            try:
                octets = key.fileobj.recv(4096)
                if octets:
                    key.fileobj.sendall(b"250 done\r\n" * octets.count(b"\n"))
                    continue
            except ConnectionError:
                pass
            waiting.unregister(key.fileobj)
            key.fileobj.close()


def measure_idle(make_run, programs, folder):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clear = min(CLEAR, (hard - 200) // RESERVE * 2 // 3)
    tls = min(TLS, (hard - 200) // RESERVE // 3)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    backend = os.fork()
    if backend == 0:
        server(listener)
    port = listener.getsockname()[1]
    try:
        run = make_run(programs, folder, ["--workers", "1", "--max-connections", str(clear + tls + 10), "--command-timeout", "3600", "--clear-phase-timeout", "3600"],
                       ["--backend", "127.0.0.1:%d" % port, "--backend-client", "none"])
        # The first sessions cost more: code and tables are loaded.
        warm = [opened(run, True) for _ in range(20)] + [opened(run, False) for _ in range(20)]
        for kind, count, secured in (("in clear", clear, False), ("inside TLS", tls, True)):
            before = measure.Sample(run.daemons, 0).memory
            held = [opened(run, secured) for _ in range(count)]
            after = measure.Sample(run.daemons, 0).memory
            print("%d idle sessions %s: %.1f KiB each" % (count, kind, (after - before) / count))
            for client in held:
                client.socket.close()
        for client in warm:
            client.socket.close()
        run.stop()
        if run.faults:
            raise SystemExit("soak: " + run.faults[0])
    finally:
        os.kill(backend, signal.SIGKILL)
        os.waitpid(backend, 0)


def opened(run, secured):
    client = clients.Client(run)
    client.greet()
    if secured:
        client.start_tls()
    return client
