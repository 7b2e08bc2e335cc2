"""Checks expressions of Prometheus against the metrics that exist: as much of the language as the dashboard and the alerts have."""
import re
from collections.abc import Iterator
from typing import NamedTuple

from metrics import LABEL, documented_labels, families

SELECTOR = re.compile(r"(starttlsd_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
# Labels that Prometheus adds to what it reads from one address.
OF_TARGETS = {"job", "instance"}


class Values(NamedTuple):
    """What a label can be: all of it, or what was seen of a label whose values are not words of starttlsd."""
    all: set[str] | None
    seen: set[str]

    @property
    def known(self) -> set[str]:
        return self.seen if self.all is None else self.all


def labels_of_samples(text: str) -> dict[str, dict[str, Values]]:
    """The labels of the samples of each name. A counter has its name even before it has a sample."""
    found: dict[str, dict[str, Values]] = {}
    documented = documented_labels(text)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    for family, samples in families(text).items():
        if kinds[family] == "counter":
            found[family + "_total"] = {}
        for sample in samples:
            labels = found.setdefault(sample.split("{")[0], {})
            for label, value in LABEL.findall(sample):
                labels.setdefault(label, Values(documented[family].get(label), set())).seen.add(value)
        if kinds[family] == "counter":
            for label, values in documented[family].items():
                found[family + "_total"].setdefault(label, Values(values, set()))
    # With several workers each sample has the number of one, besides their number itself.
    if numbers := found.get("starttlsd_worker_up"):
        for name in found.keys() - {"starttlsd_workers"}:
            found[name].setdefault("worker", Values(None, set())).seen.update(numbers["worker"].seen)
    return found


def merged(*texts: str) -> dict[str, dict[str, Values]]:
    """The labels of several texts together."""
    found: dict[str, dict[str, Values]] = {}
    for text in texts:
        for name, labels in labels_of_samples(text).items():
            mine = found.setdefault(name, {})
            for label, values in labels.items():
                mine.setdefault(label, Values(values.all, set())).seen.update(values.seen)
    return found


def alternatives(pattern: str) -> Iterator[str]:
    """The alternatives of a regular expression, those in parentheses left together."""
    depth, start = 0, 0
    for place, letter in enumerate(pattern + "|"):
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and not depth:
            yield pattern[start:place]
            start = place + 1


def mistakes(expression: str, known: dict[str, dict[str, Values]]) -> list[str]:
    """What an expression names that does not exist: metrics, labels, values of labels."""
    found = []
    used: set[str] = set()
    for name, matchers in SELECTOR.findall(expression):
        if name not in known:
            found.append(f"there is no metric {name}")
            continue
        used |= known[name].keys()
        if matchers and "".join(match[0] for match in MATCHER.finditer(matchers)) != matchers:
            found.append(f"{{{matchers}}} cannot be read")
        for label, operator, text in MATCHER.findall(matchers):
            if label not in known[name]:
                found.append(f"{name} has no label {label}")
                continue
            values = known[name][label].known
            for one in alternatives(text) if "~" in operator else [text]:
                pattern = one if "~" in operator else re.escape(one)
                if not any(re.fullmatch(pattern, value) for value in values):
                    found.append(f"{label} of {name} is never {one}")
    for _, names in GROUPING.findall(expression):
        for label in filter(None, re.split(r"\s*,\s*", names.strip())):
            if label not in used | OF_TARGETS:
                found.append(f"no metric has the label {label}")
    return found


def result_labels(expression: str, known: dict[str, dict[str, Values]]) -> set[str]:
    """The labels that the result can have: those of `by`, or without it those of the metrics."""
    grouped = [names for word, names in GROUPING.findall(expression) if word == "by"]
    if grouped or re.search(r"\b(sum|min|max|avg|count)\s*\(", expression):
        return {label.strip() for names in grouped for label in names.split(",")}
    return OF_TARGETS.union(*(known.get(name, {}) for name, _ in SELECTOR.findall(expression)))
