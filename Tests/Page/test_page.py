#!/usr/bin/env python3
"""test_page: the page of the state machine, in a real browser.

Usage: test_page chromium index.html

Loads each dialogue that the page offers and looks at what the page shows at its end: the decision, the phase, and the octets to
each side. Exit status: 0 if all is as it has to be.
"""
import html
import pathlib
import re
import subprocess
import sys
import tempfile

# The dialogues in the page's order: the decision, the phase at the end, and a line that has to be there.
EXPECTED = [
    ("handoff", "secured", "to client: 250-8BITMIME"),
    ("handoff", "relaying", "to client: 220 2.0.0 Ready to start TLS"),
    ("handoff", "relaying", "to server: RSET"),
    ("abort mail", "relaying", "to server: MAIL FROM:&lt;a@b&gt;"),
    ("abort injected plaintext", "closed", "to client: 554 5.5.0"),
    ("abort server unasked", "closed", "to client: 421 4.3.0"),
]


def shown(browser: str, page: pathlib.Path, number: int) -> str:
    """The page's elements, after its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                 "--virtual-time-budget=10000", "--dump-dom", f"{page.resolve().as_uri()}#{number}"]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=True).stdout


def text_of(identifier: str, dom: str) -> str:
    found = re.search(rf'id="{identifier}"[^>]*>([^<]*)<', dom)
    return html.unescape(found[1]) if found else ""


def main() -> None:
    browser, page = sys.argv[1], pathlib.Path(sys.argv[2])
    wrong = 0
    for number, (decision, phase, line) in enumerate(EXPECTED):
        dom = shown(browser, page, number)
        got = (text_of("decision", dom), text_of("phase", dom), line in dom, text_of("problem", dom), 'data-ready="yes"' in dom)
        if got != (decision, phase, True, "", True):
            wrong += 1
            print(f"dialogue {number}: expected {(decision, phase, line)}, got {got}")
    print(f"{len(EXPECTED) - wrong} passed, {wrong} failed")
    sys.exit(1 if wrong else 0)


main()
