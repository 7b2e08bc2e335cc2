"""The dashboard, the alerts and the page of the metrics name what starttlsd has: metrics, labels, and values of labels."""
import json
import re

import pytest

from backends import Daemon, Server, deliver
from metrics import ended, get, two_workers
from promql import mistakes, merged, result_labels
from servers import ROOT

FOLDER = ROOT / "Docs/monitoring"
# A server that relays nothing.
PROGRAM = r"""printf '220 s\r\n'; while read -r line; do case $line in RCPT*) code=550;; *) code=250;; esac; printf "$code s\r\n"; done"""


@pytest.fixture(scope="module")
def known(build, certificate, tmp_path_factory):
    """What two daemons have: one process with a program, and two workers."""
    folder = tmp_path_factory.mktemp("monitoring")
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    server = Server(trusts="nobody")
    daemons = []

    def start(*options: str) -> Daemon:
        daemons.append(Daemon(build, certificate, folder / ("two" if daemons else "one"), *options))
        return daemons[-1]
    try:
        one = start("--spare-backends", "1", "--backend-client", "none", "--metrics", f"unix:{folder}/one/metrics",
                    "--", "/bin/sh", "-c", PROGRAM)
        one.wait_for("metrics at |^starttlsd: ")
        two = two_workers(lambda **_: server, start, folder / "two")
        deliver(two.port)
        ended(two, 1)
        yield merged(get(f"{folder}/one/metrics")[2], get(two.metrics)[2])
    finally:
        for each in daemons:
            each.finish()
        server.close()


def read(text: str):
    """A document of YAML, in which no key is there twice: Prometheus refuses that, this library does not."""
    # Targets of the Makefile that do not run these tests install no python3-yaml.
    import yaml

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{node.start_mark}: a key twice in {keys}"
            return super().construct_mapping(node, deep)
    return yaml.load(text, Strict)


def alerts() -> list[dict]:
    return [rule for group in read((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


def rules() -> list[tuple[str, str]]:
    """The expression of each alert, with its texts."""
    return [(alert["expr"], "\n".join(alert["annotations"].values())) for alert in alerts()]


def targets() -> list[tuple[str, str]]:
    """The expression of each curve of the dashboard, with its legend."""
    return [(target["expr"], target.get("legendFormat", ""))
            for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"] for target in panel["targets"]]


def test_dashboard_and_alerts_use_what_exists(known):
    found = [(expression, mistake) for expression, _ in rules() + targets() for mistake in mistakes(expression, known)]
    assert not found and len(rules()) > 8 and len(targets()) > 15, found


def test_alerts_have_the_form_of_prometheus():
    document = read((FOLDER / "alerts.yml").read_text())
    assert document.keys() == {"groups"}
    assert all(group.keys() == {"name", "rules"} for group in document["groups"])
    for alert in alerts():
        assert {"alert", "expr", "annotations"} <= alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}, alert
        assert re.fullmatch("[A-Za-z]+", alert["alert"]) and re.fullmatch(r"[0-9]+[smhd]", alert.get("for", "0s")), alert
        assert alert["expr"].count("(") == alert["expr"].count(")"), alert
        for text in [alert["expr"], *alert["annotations"].values()]:
            assert isinstance(text, str) and text.count("{{") == text.count("}}"), alert
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))


def test_the_configuration_of_the_page_has_the_job_of_the_alerts():
    [block] = re.findall(r"^```yaml\n(.*?)^```$", (FOLDER / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    [job] = read(block)["scrape_configs"]
    assert any(f'up{{job="{job["job_name"]}"}}' in expression for expression, _ in rules())


def test_an_alert_does_not_need_what_may_not_exist():
    """A counter with labels has no sample before its first event. If an operand of a comparison has none, the result is empty."""
    for expression, _ in rules():
        limit = re.split(r"[<>=]=?(?![^{]*})", expression, maxsplit=1)[1]
        assert limit.count("starttlsd_") == limit.count("or vector(0)"), expression


def test_texts_use_labels_of_the_results(known):
    """A label that the result does not have is an empty place in a notification or a legend."""
    for expression, text in rules() + targets():
        used = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))
        # The series that Prometheus makes itself for each address.
        has = {"job", "instance"} if expression.startswith("up{") else result_labels(expression, known)
        assert used <= has, (expression, text)


@pytest.mark.parametrize("expression, mistake", [
    ('rate(starttlsd_refusals_total{reason="capacitiy"}[5m])', "reason of starttlsd_refusals_total is never capacitiy"),
    ('starttlsd_refusals_total{reason=~"capacity|rules"}', "reason of starttlsd_refusals_total is never rules"),
    ('starttlsd_refusals_total{reason!~"address-(connections|backend)"} + starttlsd_refusals_total{reason=~"adress-.*"}',
     "reason of starttlsd_refusals_total is never adress-.*"),
    ('starttlsd_refusals_total{worker="1", reason!="none"}', "reason of starttlsd_refusals_total is never none"),
    ('starttlsd_refusals_total{kind="capacity"}', "starttlsd_refusals_total has no label kind"),
    ('starttlsd_refusals_total{reason=capacity}', "{reason=capacity} cannot be read"),
    ('starttlsd_refusals{reason="capacity"}', "there is no metric starttlsd_refusals"),
    ('sum by (reasons) (starttlsd_refusals_total)', "no metric has the label reasons"),
    ('starttlsd_session_ends_total{end="mail"}', "end of starttlsd_session_ends_total is never mail"),
    ('starttlsd_decisions_total{decision="abort",proof="tls failed"}', "proof of starttlsd_decisions_total is never tls failed"),
    ('starttlsd_handshakes_total{version="TLSv1.1"}', "version of starttlsd_handshakes_total is never TLSv1.1"),
    ('starttlsd_greeting_seconds_bucket{le="3.0"}', "le of starttlsd_greeting_seconds_bucket is never 3.0")])
def test_mistakes_are_found(known, expression, mistake):
    assert mistakes(expression, known) == [mistake]


@pytest.mark.parametrize("expression", [
    'starttlsd_refusals_total{reason=~"capacity|address-(connections|backends)|.*-talker"}', 'starttlsd_sessions{phase!="relay",worker="2"}',
    'starttlsd_decisions_total{decision="abort",proof="cut off"}', 'starttlsd_session_ends_total{end="tls failed"}',
    'starttlsd_decisions_total{proof=""}', 'starttlsd_spare_backends_discarded_total{reason="old"}', 'starttlsd_handshakes_total{version="TLSv1.3"}',
    'sum by (instance, le) (starttlsd_greeting_seconds_bucket{le="+Inf"})'])
def test_what_exists_is_no_mistake(known, expression):
    assert mistakes(expression, known) == []


def test_the_page_has_all_metrics_and_labels(known):
    page = (FOLDER / "README.md").read_text()
    rows = [(re.findall(r"`(starttlsd_[a-z_]+)`", names), set(re.findall(r"`([a-z]+)`", labels)))
            for names, labels in re.findall(r"^\| (`starttlsd_.*?) \| (.*?) \|", page, re.MULTILINE)]
    # The label `worker` is in each family of several workers, and in the page only where it is the only one.
    has = {re.sub("_(bucket|count|sum)$", "", name): set() for name in known}
    for name, labels in known.items():
        has[re.sub("_(bucket|count|sum)$", "", name)] |= labels.keys() - ({"worker"} if "_worker_" not in name else set())
    assert {name for names, _ in rows for name in names} == has.keys()
    for names, labels in rows:
        assert set().union(*(has[name] for name in names)) == labels, names
