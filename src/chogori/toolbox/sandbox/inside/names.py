"""How files are spoken of to a model: names, kinds, sizes, counts, and what is wrong."""

import os
import re
import stat


class FileProblem(Exception):
    """What was asked of a file cannot be had. The message tells the model what would work."""


def kind_of(mode: int) -> str:
    """What a mode says is there, with its article."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def printable(name: str) -> str:
    """A file's name on one line of valid text; what is neither is shown escaped."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: ascii(found[0])[1:-1], name)


def size_of(count: int) -> str:
    """A number of bytes for reading."""
    if count < 1_000:
        return f"{count} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 999_950 * size / 1e3 or unit == "GB":
            return f"{count / size:.1f} {unit}"
    raise AssertionError("GB takes whatever is left")


def count_of(number: int, noun: str) -> str:
    """A number of things for reading."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, whole lines where a line end is near."""
    if len(text) <= limit:
        return text
    end = text.rfind("\n", limit // 2, limit)
    return text[: limit if end < 0 else end]
