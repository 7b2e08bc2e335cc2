"""OpenSMTPD, unpacked from Debian's packages. Needs root.

The program has its users and its folders compiled in: it gets them in a mount namespace of its own, with another user for mail. It
asks no name server: its clients have no reverse names.
"""
import os
import pathlib

USERS = {"opensmtpd": (64001, "/var/lib/opensmtpd/empty"), "opensmtpq": (64002, "/"), "keeper": (64003, None)}

START = """set -e
[ ! -e /etc/resolv.conf ] || mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
mount -t tmpfs none /var/spool; mount -t tmpfs none /var/lib; mount -t tmpfs none /run; mount --bind "$2/usr/libexec" /usr/libexec
mkdir -m 711 -p /var/spool/smtpd /var/lib/opensmtpd/empty
exec "$2/usr/sbin/smtpd" -d -f "$1/smtpd.conf" """

# Mail for all names at mx.example goes to the Maildir of one user.
CONFIGURATION = """{listeners}
table keepers {{ "@" = "keeper" }}
action "keep" maildir virtual <keepers>
match from any for domain "mx.example" action "keep"
{rules}
"""


class OpenSMTPD:
    """The command that runs it, and its environment. It logs to its standard error."""

    def __init__(self, root: pathlib.Path, folder: pathlib.Path, listeners: str, rules: str = ""):
        """Makes `folder`, in one that all users may enter. The packages are unpacked in `root`."""
        home = folder / "home"
        self.maildir = home / "Maildir"
        home.mkdir(parents=True)
        os.chown(home, USERS["keeper"][0], USERS["keeper"][0])
        for name, words in (("passwd", "{0}:x:{1}:{1}::{2}:/bin/false\n"), ("group", "{0}:x:{1}:\n")):
            entries = "".join(words.format(user, number, where or home) for user, (number, where) in USERS.items())
            (folder / name).write_text(pathlib.Path(f"/etc/{name}").read_text() + entries)
        (folder / "resolv.conf").write_text("lookup file\n")
        configuration = folder / "smtpd.conf"
        configuration.write_text(CONFIGURATION.format(listeners=listeners, rules=rules))
        configuration.chmod(0o600)
        self.environment = {"PATH": os.environ["PATH"],
                            "LD_LIBRARY_PATH": ":".join(map(str, (root / "usr/lib").glob("*-linux-gnu")))}
        self.program = root / "usr/sbin/smtpd"
        self.command = ["unshare", "-m", "sh", "-c", START, "sh", folder, root]
