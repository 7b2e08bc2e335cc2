#!/usr/bin/env python3
"""soak: a mixed load on the real starttlsd and maildir-smtpd, and what must be true at its end.

soak.py FOLDER [--minutes N] [--planted] [--idle]

FOLDER has the programs. There are two daemons, one in front of a program and one in front of a server by address, each with two workers.
Good, slow, broken and hostile clients; programs, the server, workers and their processes are killed; reloads and take-overs. At the end:
memory, descriptors and processes do not grow after the warm-up; each acknowledged message is in the Maildir once; the log has a line for
each connection, but for those of workers that were killed.
--planted keeps connections open, as a leak would: the check must fail, and then the exit code is 0. --idle measures the memory of
sessions that wait.
"""

import argparse
import collections
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import clients
import idle
import measure

WORKERS = 12


class Front:
    """A starttlsd with its log and its ports: in clear, and with TLS from the start."""

    def __init__(self, words, log):
        self.log = log
        with open(log, "w") as output:
            self.daemon = subprocess.Popen(words, stderr=output, stdin=subprocess.DEVNULL)
        self.ports = self.listening()

    def listening(self):
        for _ in range(600):
            found = re.findall(r"listening on 127\.0\.0\.1:(\d+)( with TLS from the start)?", self.text())
            ports = {bool(secured): int(port) for port, secured in found}
            if len(ports) == 2:
                return ports
            if self.daemon.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit("soak: starttlsd does not listen: " + self.text())

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def workers(self):
        return [one for one in measure.children(self.daemon.pid) if measure.command(one) == "starttlsd"]

    def processes(self, name):
        return [one for one in measure.descendants(self.daemon.pid) if measure.command(one).startswith(name)]


class Server:
    """A server by address, which starts a program for each connection. It can be killed and started again at the same port."""

    def __init__(self, words, log):
        self.words = words
        self.log = open(log, "w")
        self.port = 0
        self.start()

    def start(self):
        limit = time.monotonic() + 10
        while True:
            try:
                listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
                break
            except OSError:
                # A process that was killed may not have ended yet.
                if time.monotonic() > limit:
                    raise
                time.sleep(0.05)
        self.port = listener.getsockname()[1]
        self.process = os.fork()
        if self.process == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            while True:
                connection, _ = listener.accept()
                # Popen in place of a fork: this process has threads of the load.
                subprocess.Popen(self.words, stdin=connection, stdout=connection, stderr=self.log)
                connection.close()
        listener.close()

    def kill(self):
        """With all its programs."""
        try:
            os.killpg(self.process, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


class Run:
    def __init__(self, programs, folder, options=(), backend=None):
        self.folder = folder
        self.programs = programs
        self.lock = threading.Lock()
        self.connections = 0
        self.tokens = 0
        self.stored = []
        self.faults = []
        self.refused = collections.Counter()
        self.disturbed = collections.Counter()
        certificate, key = folder + "/certificate.pem", folder + "/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
             "/CN=soak.example", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.words = [programs + "/starttlsd", "--allow-root", "--trusting-backend", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0",
                      "--certificate", certificate, "--key", key, "--exempt", "127.0.0.0/8", "--backend-grace", "5", "--grace", "5"]
        self.program = [programs + "/maildir-smtpd", "--hostname", "soak.example", folder + "/Maildir"]
        self.fronts = []
        self.server = None
        self.add_front(options, backend or ["--", *self.program])

    def add_front(self, options, backend):
        self.fronts.append(Front([*self.words, *options, *backend], self.folder + "/log-%d" % len(self.fronts)))

    @property
    def daemons(self):
        return [front.daemon.pid for front in self.fronts]

    def port(self, implicit):
        return random.choice(self.fronts).ports[implicit]

    def connected(self):
        with self.lock:
            self.connections += 1

    def token(self):
        with self.lock:
            self.tokens += 1
            return "token-%d-" % self.tokens

    def acknowledged(self, token):
        with self.lock:
            self.stored.append(token)

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def stop(self):
        for front in self.fronts:
            front.daemon.send_signal(signal.SIGTERM)
        for front in self.fronts:
            try:
                if front.daemon.wait(30) != 0:
                    self.fault("starttlsd ended with code %d" % front.daemon.returncode)
            except subprocess.TimeoutExpired:
                front.daemon.kill()
                self.fault("starttlsd did not stop")
        if self.server:
            self.server.kill()

    # The load

    def work(self, seed, end):
        chance = random.Random(seed)
        kinds = [kind for kind, weight in clients.KINDS for _ in range(weight)]
        while time.monotonic() < end:
            kind = chance.choice(kinds)
            try:
                kind(self, chance)
                with self.lock:
                    self.refused["complete"] += 1
            except clients.EXPECTED as error:
                with self.lock:
                    self.refused[type(error).__name__] += 1
            except Exception as error:  # a fault of the soak itself must not pass for a good run
                self.fault("%s: %r" % (kind.__name__, error))
                return

    def disturb(self, number):
        """Servers, workers and their processes that crash, reloads and take-overs."""
        for front in self.fronts:
            if number % 3 == 0:
                front.daemon.send_signal(signal.SIGHUP)
            self.kill("a program", front.processes("maildir-smtpd"))
            if number % 8 == 4:
                self.kill("a worker", front.workers())
            if number % 16 == 7:
                self.kill("a process of a worker", front.processes("starttlsd-"))
            if number % 8 == 0:
                self.disturbed["a take-over"] += 1
                front.daemon.send_signal(signal.SIGUSR2)
        if self.server and number % 6 == 1:
            self.disturbed["the server"] += 1
            self.server.kill()
            self.server.start()

    def kill(self, what, processes):
        if processes:
            try:
                os.kill(random.choice(processes), signal.SIGKILL)
                self.disturbed[what] += 1
            except ProcessLookupError:
                pass

    def settled(self):
        """When all workers have all their processes."""
        limit, last, same = time.monotonic() + 30, None, 0
        while same < 5 and time.monotonic() < limit:
            sample = measure.Sample(self.daemons, 0)
            same = same + 1 if last and (sample.processes, sample.descriptors) == (last.processes, last.descriptors) else 0
            last = sample
            time.sleep(0.2)
        return last

    # The end

    def check_messages(self):
        """Each acknowledged message once; none twice."""
        found = collections.Counter()
        for part in ("new", "cur"):
            path = self.folder + "/Maildir/" + part
            for name in os.listdir(path) if os.path.isdir(path) else []:
                with open(path + "/" + name, errors="replace") as message:
                    found.update(set(re.findall(r"^Subject: (token-\d+-)$", message.read(), re.M)))
        lost = [token for token in self.stored if found[token] == 0]
        twice = [token for token, count in found.items() if count > 1]
        if lost or twice:
            self.fault("%d messages lost (%s), %d delivered twice (%s)" % (len(lost), lost[:3], len(twice), twice[:3]))

    def check_log(self):
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            lines = sum(len(re.findall(r" session peer=", front.text())) for front in self.fronts)
            if lines >= self.connections:
                break
            time.sleep(0.2)
        # A worker that was killed wrote no line for its sessions, of which each client has one at most.
        missing = WORKERS * self.disturbed["a worker"]
        if not self.connections - missing <= lines <= self.connections:
            self.fault("%d connections, %d lines of sessions in the log" % (self.connections, lines))
        return lines

    def check_growth(self, samples, before):
        after_warm_up = samples[len(samples) // 3:]
        if len(after_warm_up) < 5:
            self.fault("too few samples: a longer run is needed")
            return
        memory = measure.growth(after_warm_up, "memory")
        # What a run of a minute may still need for its buffers; a longer run finds a smaller leak of each session.
        growth_limit = 8192 * len(self.fronts)
        files = measure.growth(after_warm_up, "descriptors")
        print("growth after the warm-up: memory %+d KiB (limit %d), descriptors %+.1f" % (memory, growth_limit, files))
        if memory > growth_limit:
            self.fault("the memory grows: %+d KiB" % memory)
        if files > 3 * WORKERS:
            self.fault("the descriptors grow: %+.1f" % files)
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            after = measure.Sample(self.daemons, 0)
            if after.descriptors == before.descriptors and after.processes == before.processes:
                return
            time.sleep(0.2)
        self.fault("left after the last session: %d descriptors, %d processes (%s); before the first: %d and %d (%s)" % (
            after.descriptors, after.processes, after.names, before.descriptors, before.processes, before.names))


def soak(programs, seconds, planted):
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.mkdir(folder + "/records", 0o700)
        run = Run(programs, folder, ["--workers", "2", "--record", folder + "/records", "--record-limit", "50"])
        run.server = Server(run.program, folder + "/log-server")
        run.add_front(["--workers", "2"], ["--backend", "127.0.0.1:%d" % run.server.port, "--backend-client", "none"])
        before = run.settled()
        begin = time.monotonic()
        workers = [threading.Thread(target=run.work, args=(seed, begin + seconds)) for seed in range(WORKERS)]
        for worker in workers:
            worker.start()
        samples, held, number = [], [], 0
        step = min(5.0, max(0.5, seconds / 60))
        while time.monotonic() < begin + seconds:
            time.sleep(step)
            number += 1
            samples.append(measure.Sample(run.daemons, time.monotonic() - begin))
            run.disturb(number)
            if planted:
                held += [clients.Client(run) for _ in range(8)]
        for worker in workers:
            worker.join(clients.LIMIT * 3)
        run.check_growth(samples, before)
        for client in held:
            client.socket.close()
        lines = run.check_log()
        run.stop()
        run.check_messages()
        print("%d s: %d connections, %d lines in the log, %d messages acknowledged, %d samples; %s; disturbed: %s, %d take-overs complete" % (
            seconds, run.connections, lines, len(run.stored), len(samples), dict(run.refused), dict(run.disturbed),
            sum(front.text().count("has taken over") for front in run.fronts)))
        if not run.stored or run.refused["complete"] < run.connections // 4:
            run.fault("most sessions did not complete")
        return run.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    programs = os.path.abspath(options.programs)
    if options.idle:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            idle.measure_idle(Run, programs, folder)
        return
    faults = soak(programs, options.minutes * 60, options.planted)
    for fault in faults[:20]:
        print("soak: " + fault)
    if options.planted:
        if not any("grow" in fault for fault in faults):
            sys.exit("soak: the growth that was planted was not found")
        print("the growth that was planted was found")
    elif faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
