"""skarnet: the folders of skarnet's programs, which SKARNET names, separated by colons, and the versions of the programs."""
import os
import pathlib
import re


def folders() -> list[pathlib.Path]:
    return [pathlib.Path(name) for name in os.environ.get("SKARNET", "").split(":") if name]


def shortened(path: pathlib.Path) -> str:
    """The path for a table that others read: of an absolute one only the last two parts."""
    return "/".join(("…", *path.parts[1:][-2:])) if path.is_absolute() else str(path)


def library(folder: pathlib.Path) -> str | None:
    """The TLS library of the engine in a folder: it is built with one of two. None if there is no engine."""
    try:
        return "BearSSL" if b"BearSSL" in (folder / "s6-tlsd-io").read_bytes() else "libtls"
    except OSError:
        return None


def versions_beside(folder: pathlib.Path) -> list[str]:
    """Names and versions of the packages of a folder. The programs have no option that prints them. The headers that are installed beside the
    programs have them; where there are none, nothing is known."""
    found = []
    for header in sorted(folder.parent.glob("include/*/config.h")):
        if match := re.search(r'^#define \w+_VERSION "([^"]+)"', header.read_text(errors="replace"), re.M):
            found.append(f"{header.parent.name} {match[1]}")
    return found


def versions() -> list[str]:
    """Those of all folders, each once."""
    return list(dict.fromkeys(version for folder in folders() for version in versions_beside(folder)))
