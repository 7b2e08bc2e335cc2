"""smtpstate: libsmtpstate from Python with ctypes, as a proof that its interface can be used from outside of C.

One class, `Conversation`: octets in, octets out, and decisions. Numbers are those of smtpstate.h.
"""
import ctypes
from ctypes import POINTER, byref, c_bool, c_char, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

CLIENT, SERVER, NEW_SERVER = 1, 2, 3
ESTABLISHED, FAILED = 1, 2
GREETING, READY, RESTART_FAILED = 1, 2, 3
PEEK, END_SERVER, RESTART, HANDOFF, ABORT, RELAY, CLOSE = 9, 10, 11, 12, 13, 14, 15
NO_OCTET = -1


class Policy(ctypes.Structure):
    """struct smtpstate_policy."""
    _fields_ = [("size", c_uint32), ("security", c_uint8), ("mail_protocol", c_uint8), ("server_reset", c_uint8),
                ("bare_line_feed", c_uint8), ("allows_cleartext_authentication", c_uint8), ("reserved", c_uint8 * 3), ("limits", c_uint32 * 8),
                ("timeouts", c_uint32 * 6)]


class Command(ctypes.Structure):
    """struct smtpstate_command."""
    _fields_ = [("kind", c_uint8), ("party", c_uint8), ("hold", c_uint8), ("verb", c_uint8), ("separator", c_uint8),
                ("reply", c_uint8), ("reason", c_uint8), ("reserved", c_uint8)]


class State(ctypes.Structure):
    """struct smtpstate_conversation."""
    _fields_ = [("opaque", c_uint64 * 64)]


class Library:
    """The functions of a libsmtpstate.so that are used here, with their types."""

    def __init__(self, path: str) -> None:
        self.c = ctypes.CDLL(path)
        self.declare("abi_version", c_uint32)
        self.declare("policy_init", None, POINTER(Policy))
        self.declare("conversation_memory_size", c_size_t, POINTER(Policy))
        self.declare("conversation_init", c_bool, POINTER(State), POINTER(Policy), c_void_p, c_size_t)
        self.declare("conversation_wants", c_bool, POINTER(State), c_int)
        self.declare("conversation_receive", c_size_t, POINTER(State), c_int, ctypes.c_char_p, c_size_t)
        self.declare("conversation_input_ended", None, POINTER(State), c_int)
        self.declare("conversation_output", c_void_p, POINTER(State), c_int, POINTER(c_size_t))
        self.declare("conversation_sent", None, POINTER(State), c_int, c_size_t)
        self.declare("conversation_peeked", None, POINTER(State), c_int, c_bool)
        self.declare("conversation_handshake_finished", None, POINTER(State), c_int)
        self.declare("conversation_server_restarted", None, POINTER(State), c_int)
        self.declare("conversation_next_decision", Command, POINTER(State))
        self.declare("conversation_is_final", c_bool, POINTER(State))
        self.declare("reason_name", ctypes.c_char_p, c_int)

    def declare(self, name: str, result: object, *parameters: object) -> None:
        function = getattr(self.c, "smtpstate_" + name)
        function.restype = result
        function.argtypes = parameters
        setattr(self, name, function)

    def policy(self) -> Policy:
        policy = Policy()
        self.policy_init(byref(policy))
        return policy


class Conversation:
    """One conversation and its memory."""

    def __init__(self, library: Library, policy: Policy) -> None:
        self.library = library
        self.state = State()
        self.memory = (c_char * library.conversation_memory_size(byref(policy)))()
        if not library.conversation_init(byref(self.state), byref(policy), self.memory, len(self.memory)):
            raise ValueError("the policy is refused")

    def wants(self, side: int) -> bool:
        return self.library.conversation_wants(byref(self.state), side)

    def receive(self, side: int, octets: bytes) -> int:
        return self.library.conversation_receive(byref(self.state), side, octets, len(octets))

    def input_ended(self, side: int) -> None:
        self.library.conversation_input_ended(byref(self.state), side)

    def take_output(self, side: int) -> bytes:
        """Everything that waits to be sent to a side, as if the kernel had accepted all of it."""
        count = c_size_t()
        start = self.library.conversation_output(byref(self.state), side, byref(count))
        octets = ctypes.string_at(start, count.value) if count.value else b""
        if octets:
            self.library.conversation_sent(byref(self.state), side, len(octets))
        return octets

    def peeked(self, first: int, ended: bool) -> None:
        self.library.conversation_peeked(byref(self.state), first, ended)

    def handshake_finished(self, outcome: int) -> None:
        self.library.conversation_handshake_finished(byref(self.state), outcome)

    def server_restarted(self, outcome: int) -> None:
        self.library.conversation_server_restarted(byref(self.state), outcome)

    def next_decision(self) -> Command | None:
        decision = self.library.conversation_next_decision(byref(self.state))
        return decision if decision.kind else None

    def is_final(self) -> bool:
        return self.library.conversation_is_final(byref(self.state))
