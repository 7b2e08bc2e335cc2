#!/usr/bin/env python3
"""soak: a mixed load on the real starttlsd and maildir-smtpd, and what must be true at its end.

soak.py FOLDER [--minutes N] [--planted] [--idle]

FOLDER has the programs. Good, slow, broken and hostile clients, backends that are killed, reloads. At the end: memory, descriptors and
processes do not grow after the warm-up; each acknowledged message is in the Maildir once; the log has a line for each connection.
--planted keeps connections open, as a leak would: the check must fail, and then the exit code is 0. --idle measures the memory of
sessions that wait.
"""

import argparse
import collections
import os
import random
import re
import signal
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


class Run:
    def __init__(self, programs, folder, options=(), backend=None):
        self.folder = folder
        self.lock = threading.Lock()
        self.connections = 0
        self.tokens = 0
        self.stored = []
        self.faults = []
        self.refused = collections.Counter()
        certificate, key = folder + "/certificate.pem", folder + "/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
             "/CN=soak.example", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        words = [programs + "/starttlsd", "--allow-root", "--trusting-backend", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0",
                 "--certificate", certificate, "--key", key, "--exempt", "127.0.0.0/8", "--backend-grace", "5", "--grace", "5", *options]
        words += backend or ["--", programs + "/maildir-smtpd", "--hostname", "soak.example", folder + "/Maildir"]
        self.log = folder + "/log"
        with open(self.log, "w") as log:
            self.daemon = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL)
        self.ports = self.listening()

    def listening(self):
        for _ in range(600):
            found = re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.text())
            if len(found) == 2 and "with TLS from the start" in self.text():
                return [int(port) for port in found]
            if self.daemon.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit("soak: starttlsd does not listen: " + self.text())

    def text(self):
        with open(self.log, errors="replace") as log:
            return log.read()

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
        self.daemon.send_signal(signal.SIGTERM)
        try:
            if self.daemon.wait(30) != 0:
                self.fault("starttlsd ended with code %d" % self.daemon.returncode)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.fault("starttlsd did not stop")

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
        """Backends that crash, and reloads."""
        if number % 3 == 0:
            self.daemon.send_signal(signal.SIGHUP)
        backends = [one for one in measure.children(self.daemon.pid) if measure.command(one) == "maildir-smtpd"]
        if backends:
            try:
                os.kill(random.choice(backends), signal.SIGKILL)
            except ProcessLookupError:
                pass

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
            lines = len(re.findall(r" session peer=", self.text()))
            if lines >= self.connections:
                break
            time.sleep(0.2)
        if lines != self.connections:
            self.fault("%d connections, %d lines of sessions in the log" % (self.connections, lines))
        return lines

    def check_growth(self, samples, before):
        after_warm_up = samples[len(samples) // 3:]
        if len(after_warm_up) < 5:
            self.fault("too few samples: a longer run is needed")
            return
        memory = measure.growth(after_warm_up, "memory")
        # What a run of a minute may still need for its buffers; a longer run finds a smaller leak of each session.
        growth_limit = 8192
        files = measure.growth(after_warm_up, "descriptors")
        print("growth after the warm-up: memory %+d KiB (limit %d), descriptors %+.1f" % (memory, growth_limit, files))
        if memory > growth_limit:
            self.fault("the memory grows: %+d KiB" % memory)
        if files > 3 * WORKERS:
            self.fault("the descriptors grow: %+.1f" % files)
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            after = measure.Sample(self.daemon.pid, 0)
            if after.descriptors == before.descriptors and after.processes == before.processes:
                return
            time.sleep(0.2)
        self.fault("left after the last session: %d descriptors, %d processes; before the first: %d and %d" % (
            after.descriptors, after.processes, before.descriptors, before.processes))


def soak(programs, seconds, planted):
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.mkdir(folder + "/records", 0o700)
        run = Run(programs, folder, ["--record", folder + "/records", "--record-limit", "50"])
        before = measure.Sample(run.daemon.pid, 0)
        begin = time.monotonic()
        workers = [threading.Thread(target=run.work, args=(seed, begin + seconds)) for seed in range(WORKERS)]
        for worker in workers:
            worker.start()
        samples, held, number = [], [], 0
        step = min(5.0, max(0.5, seconds / 60))
        while time.monotonic() < begin + seconds:
            time.sleep(step)
            number += 1
            samples.append(measure.Sample(run.daemon.pid, time.monotonic() - begin))
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
        print("%d s: %d connections, %d lines in the log, %d messages acknowledged, %d samples; %s" % (
            seconds, run.connections, lines, len(run.stored), len(samples), dict(run.refused)))
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
