"""Reads the metrics of starttlsd, strictly."""
import re
import socket

from mail import read_to_end

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# A label of a sample: its name, and its value as it is written.
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def get(address, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") -> tuple[str, dict[str, str], str]:
    """The status, the header and the body of a response."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as asking:
        asking.connect(address)
        asking.sendall(request)
        answer = read_to_end(asking).decode()
    head, body = answer.split("\r\n\r\n", 1)
    status, *lines = head.split("\r\n")
    header = dict(line.split(": ", 1) for line in lines)
    assert int(header["Content-Length"]) == len(body) or request.startswith(b"HEAD")
    return status, header, body


def documented_labels(text: str) -> dict[str, dict[str, set[str] | None]]:
    """The labels of each family, as its help has them, with all their values; None for a label whose values are not words of starttlsd."""
    found: dict[str, dict[str, set[str] | None]] = {}
    for name, help in re.findall(r"^# HELP (\S+) (.*)\.$", text, re.MULTILINE):
        labels = help.partition(". Labels: ")[2]
        found[name] = {label: {"" if value == "empty" else value for value in values.split(", ")} if values else None
                       for label, values in re.findall(r"([a-z]+)(?: \((.*?)\))?(?:, |$)", labels)}
    return found


def families(text: str) -> dict[str, dict[str, float]]:
    """Reads the text as OpenMetrics 1.0 demands it, and strictly: the samples of each family."""
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    found: dict[str, dict[str, float]] = {}
    name = kind = ""
    documented = documented_labels(text)
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert NAME.fullmatch(name) and name not in found and kind in ("counter", "gauge", "histogram", "info")
            found[name] = {}
        elif line.startswith("# UNIT "):
            unit = line.removeprefix(f"# UNIT {name} ")
            assert name.endswith("_" + unit)
        elif line.startswith("#"):
            assert line.startswith(f"# HELP {name} ") and line.endswith(".")
        else:
            match = re.fullmatch(r'([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})?) (-?[0-9.]+)', line)
            assert match, line
            suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"]}[kind]
            assert match[1] in [name + suffix for suffix in suffixes], line
            for label, value in LABEL.findall(match[2]):
                # The supervisor adds the number of the worker.
                values = documented[name].get(label) if label in documented[name] or label != "worker" else None
                assert label in (*documented[name], "worker") and (values is None or value in values), line
            sample = match[1] + match[2]
            assert sample not in found[name]
            found[name][sample] = float(match[3])
    return found


def scrape(daemon) -> dict[str, float]:
    status, header, body = get(daemon.metrics)
    assert status == "HTTP/1.1 200 OK"
    assert header["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return {sample: value for family in families(body).values() for sample, value in family.items()}


def ended(daemon, count: int) -> dict[str, float]:
    """The metrics once so many sessions have ended."""
    seen: dict[str, float] = {}

    def have_ended() -> bool:
        seen.clear()
        seen.update(scrape(daemon))
        return sum(v for k, v in seen.items() if k.startswith("starttlsd_session_ends_total")) == count

    assert daemon.eventually(have_ended)
    return seen


def worker(daemon, number: int) -> int:
    """The process of a worker."""
    return int(re.findall(rf"worker {number} started, process (\d+)", daemon.log())[-1])


def up(daemon) -> list[float]:
    seen = scrape(daemon)
    return [seen[f'starttlsd_worker_up{{worker="{number}"}}'] for number in (1, 2)]


def two_workers(backend_server, starttlsd, folder, *options: str):
    """starttlsd with two workers, whose metrics are at one address."""
    backend = backend_server(trusts="nobody")
    daemon = starttlsd("--workers", "2", "--backend", backend.address, "--backend-client", "none", "--metrics", f"unix:{folder}/metrics",
                       *options)
    daemon.metrics = f"{folder}/metrics"
    daemon.wait_for("2 workers serve")
    return daemon
