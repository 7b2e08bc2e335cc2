"""The tables of log lines in Docs/Operating.md have each warning and error of starttlsd, and nothing that it does not write; the manual
page has each word of the fields proof and end."""
import re

from servers import ROOT

PAGE = (ROOT / "Docs/Operating.md").read_text()
SOURCES = [file.read_text() for name in ("Daemon/starttlsd", "Daemon/ClientAccess", "Daemon/RelayProbe", "ProgramSupport", "Transport", "TransportTLS")
           for file in sorted((ROOT / "Sources" / name).rglob("*.swift"))]
# What Swift inserts into a text, which may contain texts of its own; and a text, in one line or between three quotation marks.
INSERTED = r'\\\((?:[^()"]|"[^"]*"|\((?:[^()]|\([^()]*\))*\))*\)'
TEXT = rf'"""\n(.*?)\n\s*"""|"((?:{INSERTED}|[^"\\]|\\.)*)"'
WARNING = re.compile(rf"(?:log\.(?:warning|error|critical)|[wW]arning\.note)\(\s*(?:{TEXT})", re.DOTALL)
# Shorter parts are in too many texts to say anything.
SHORTEST = 9


def pieces(text: str) -> list[str]:
    """A text of the sources without what is inserted, in its pieces."""
    return [piece for piece in re.split(INSERTED, re.sub(r"\\\n\s*", "", text)) if len(piece.strip(" :;,()")) >= SHORTEST]


def rows() -> list[list[str]]:
    """Of each line in the tables, its parts between what the page leaves open: `...`, a number, or a word in capitals."""
    tables = re.findall(r"^\| line(?: of the log)? \|.*?\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert len(tables) == 2
    texts = [text for table in tables for row in table.splitlines() for text in re.findall("`([^`]+)`", row.split(" | ")[0])]
    opened = re.compile(r"\.\.\.|: |\b\d+ s\b|\b\d+\b|\b(?:worker )?[A-Z]\b|\b(?:ADDRESS|FILE|ID)\b")
    # Others are fields of a session's line and their values.
    texts = [text for text in texts if "=" not in text and not text.startswith('"')]
    return [[part for part in (part.strip(" :;,()") for part in opened.split(text)) if len(part) >= SHORTEST] for text in texts]


def test_each_warning_is_on_the_page():
    known = [part for row in rows() for part in row]
    warnings = [match[1] or match[2] for source in SOURCES for match in WARNING.finditer(source)]
    warnings = [text for text in warnings if pieces(text)]
    assert len(warnings) > 40, "the search finds them"
    missing = [text for text in warnings if not any(part in text for part in known)]
    assert missing == [], "Docs/Operating.md does not say what these lines of the log mean"


def test_each_line_on_the_page_is_written():
    texts = [match[1] or match[2] for source in SOURCES for match in re.finditer(TEXT, source, re.DOTALL)]
    texts = "\n".join(re.sub(r"\\\n\s*", "", text) for text in texts if text)
    unknown = [part for row in rows() for part in row if part not in texts]
    assert unknown == [], "starttlsd does not write this"


def test_each_reason_is_in_the_manual_page():
    reasons = re.findall(r'case \.\w+: "([^"]+)"', (ROOT / "Sources/SMTPState/Reason.swift").read_text())
    # The functions of the fields, without the decision's, whose words the page has elsewhere.
    fields = (ROOT / "Sources/Transport/Session/SessionLine.swift").read_text().split("static func proof")[1].split("static func durations")[0]
    words = reasons + [word for word in re.findall(r'case \.\w+: "([a-z ]+)"', fields)]
    assert len(words) > 25, "the search finds them"
    page = (ROOT / "Docs/man/starttlsd.8").read_text().split(".Sh DIAGNOSTICS")[1].split(".Sh SIGNALS")[0]
    listed = [word.strip() for line in re.findall(r"^\.It Li ((?:.*\\\n)*.*)$", page, re.MULTILINE)
              for word in line.replace("\\\n", "").split(" ,")]
    assert [word for word in words if word not in listed] == []
