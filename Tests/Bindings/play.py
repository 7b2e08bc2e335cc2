#!/usr/bin/env python3
"""play: transcripts of Fixtures through the Python binding. What comes out must be what the transcript expects.

Usage: play libsmtpstate.so transcript...
Exit status: 0 if all agree, 1 if one does not.
"""
import re
import sys

import smtpstate
from smtpstate import CLIENT, NEW_SERVER, SERVER

ANSWERS = {"established": smtpstate.ESTABLISHED, "failed": smtpstate.FAILED}
SERVERS = {"greeting": smtpstate.GREETING, "ready": smtpstate.READY, "failed": smtpstate.RESTART_FAILED}
NAMES = {smtpstate.END_SERVER: "end server", smtpstate.RESTART: "restart", smtpstate.HANDOFF: "handoff",
         smtpstate.RELAY: "relay"}
REASONS = {smtpstate.ABORT: "abort", smtpstate.CLOSE: "close"}


def octets(text: str) -> bytes:
    """A line of a transcript as octets: escapes as in C, CR LF unless a backslash ends it."""
    ends = not re.search(r"(?<!\\)(\\\\)*\\$", text)
    text = text if ends else text[:-1]
    text = re.sub(r"\\\{(.) (\d+)\}", lambda match: match[1] * int(match[2]), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1") + (b"\r\n" if ends else b"")


class Player:
    """Plays one transcript."""

    def __init__(self, library: smtpstate.Library, lines: list[str]) -> None:
        self.library = library
        policy = library.policy()
        policy.security = 2 if "security required" in lines else policy.security
        policy.mail_protocol = 2 if "protocol lmtp" in lines else policy.mail_protocol
        policy.server_reset = 2 if "reset rset" in lines else policy.server_reset
        self.conversation = smtpstate.Conversation(library, policy)
        self.unread = {CLIENT: b"", SERVER: b""}
        self.server = SERVER
        self.is_tls_at_work = self.is_relaying = False
        self.done: list[tuple[str, bytes]] = []

    def note(self, what: str, text: bytes = b"") -> None:
        if what in "cs" and self.done and self.done[-1][0] == what:
            text = self.done.pop()[1] + text
        self.done.append((what, text))

    def happen(self, line: str) -> None:
        """Lets what one line says happen."""
        words = line.split()
        if line.startswith(("C:", "S:")):
            side = CLIENT if line[0] == "C" else SERVER
            if side == SERVER or not self.is_tls_at_work:
                self.unread[side] += octets(line[3:])
        elif words[0] == "secured":
            self.is_tls_at_work = False
            self.unread[CLIENT] = b""
            self.conversation.handshake_finished(ANSWERS[words[1]])
        elif words[0] == "restarted":
            if words[1] != "failed":
                self.server = NEW_SERVER
            self.conversation.server_restarted(SERVERS[words[1]])
        elif line != "pause":
            sys.exit(f"play: this player does not know: {line}")

    def settle(self) -> None:
        """Does all there is to do."""
        moved = True
        while moved:
            moved = self.decide() | self.send()
            if self.is_relaying:
                for side, to in ((SERVER, "c"), (CLIENT, "s")):
                    if self.unread[side]:
                        self.note(to, self.unread[side])
                        self.unread[side] = b""
                return
            for side, name in ((SERVER, self.server), (CLIENT, CLIENT)):
                if self.unread[side] and self.conversation.wants(name):
                    used = self.conversation.receive(name, self.unread[side])
                    self.unread[side] = self.unread[side][used:]
                    moved |= used > 0
                    break

    def send(self) -> bool:
        moved = False
        for side, to in ((SERVER, "s"), (CLIENT, "c")):
            text = self.conversation.take_output(side)
            if text:
                self.note(to, text)
                moved = True
        return moved

    def decide(self) -> bool:
        moved = False
        while decision := self.conversation.next_decision():
            moved = True
            # What was written before a decision is sent before it.
            kind = decision.kind
            if kind == smtpstate.PEEK:
                side = CLIENT if decision.party == CLIENT else SERVER
                self.conversation.peeked(self.unread[side][0] if self.unread[side] else smtpstate.NO_OCTET, False)
                continue
            if kind == smtpstate.END_SERVER:
                self.unread[SERVER] = b""
            if kind == smtpstate.HANDOFF:
                self.is_tls_at_work = True
            if kind == smtpstate.RELAY:
                self.send()
                self.is_relaying = True
            reason = self.library.reason_name(decision.reason).decode()
            self.note(NAMES.get(kind) or f"{REASONS[kind]} {reason}")
        return moved


def expected_of(lines: list[str]) -> tuple[bytes, bytes, list[str]]:
    to_client = b"".join(octets(line[3:]) for line in lines if line.startswith("c:"))
    to_server = b"".join(octets(line[3:]) for line in lines if line.startswith("s:"))
    decisions = [line for line in lines if line in NAMES.values() or line.startswith(("abort ", "close "))]
    return to_client, to_server, decisions


def main() -> None:
    library = smtpstate.Library(sys.argv[1])
    wrong = 0
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
        player = Player(library, lines)
        happens = [line for line in lines if line.startswith(("C:", "S:", "secured ", "restarted ", "pause"))]
        for index, line in enumerate(happens):
            player.happen(line)
            following = lines[lines.index(line) + 1] if index + 1 < len(happens) else ""
            if not (following[:2] in ("C:", "S:") and line[:2] in ("C:", "S:")):
                player.settle()
        player.settle()
        got = (b"".join(text for what, text in player.done if what == "c"),
               b"".join(text for what, text in player.done if what == "s"),
               [what for what, _ in player.done if what not in "cs"])
        if got != expected_of(lines):
            wrong += 1
            print(f"{path}:\n  expected {expected_of(lines)}\n  got      {got}")
    print(f"{len(sys.argv) - 2 - wrong} passed, {wrong} failed")
    sys.exit(1 if wrong or len(sys.argv) < 3 else 0)


main()
