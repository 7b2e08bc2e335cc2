"""skarnet: the folders of skarnet's programs, which SKARNET names, separated by colons, and the versions of the programs."""
import os
import pathlib
import re


def folders() -> list[pathlib.Path]:
    return [pathlib.Path(name) for name in os.environ.get("SKARNET", "").split(":") if name]


def shortened(path: pathlib.Path) -> str:
    """The path for a table that others read: of an absolute one only the last two parts."""
    return "/".join(("…", *path.parts[1:][-2:])) if path.is_absolute() else str(path)


def versions() -> list[str]:
    """Names and versions of the packages, each once. The programs have no option that prints them. The headers that are installed beside the
    programs have them; where there are none, nothing is known."""
    found = {}
    for folder in folders():
        for header in sorted(folder.parent.glob("include/*/config.h")):
            if match := re.search(r'^#define \w+_VERSION "([^"]+)"', header.read_text(errors="replace"), re.M):
                found[f"{header.parent.name} {match[1]}"] = None
    return list(found)
