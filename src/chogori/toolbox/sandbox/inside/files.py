"""Answers requests about files, one after another, in a process that was forked for them.

A request is {"op", "folders", ...what the operation takes}; an answer is {"text", "files", "notes"}
or {"problem"}. The operations are those of the tools of the same names; `edited` asks whether an
edit was made.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .editing import edit, encoded, has_happened
from .listing import Listing
from .names import FileProblem, count_of, size_of
from .reading import read
from .searching import Search
from .walk import Folders


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What comes of a request; what is wrong with it, or with the file, is an answer too."""
    arguments = dict(request)
    operation = _OPERATIONS[arguments.pop("op")]
    folders = Folders(**arguments.pop("folders"))
    try:
        return operation(folders, **arguments)
    except FileProblem as problem:
        return {"problem": str(problem)}
    except OSError as error:
        return {"problem": f"{arguments['path']}: {(error.strerror or str(error)).lower()}"}
    except MemoryError:
        return {"problem": f"{arguments['path']} takes more memory than there is; use python"}


def _read_file(
    folders: Folders, *, path: str, first_line: int, lines: int, max_chars: int
) -> dict[str, Any]:
    with folders.at(path) as spot:
        return _told(read(spot, first_line, lines, max_chars))


def _write_file(folders: Folders, *, path: str, text: str) -> dict[str, Any]:
    with folders.at(path, make_parents=True) as spot:
        data = encoded(text)
        spot.replace(data)
        lines = text.count("\n") + (not text.endswith("\n") and bool(text))
        told = f"wrote {count_of(lines, 'line')} ({size_of(len(data))}) to {spot.shown}"
        return _told(told, files=[spot.shown])


def _edit_file(
    folders: Folders, *, path: str, old: str, new: str, all: bool, key: str
) -> dict[str, Any]:
    with folders.at(path) as spot:
        return _told(edit(spot, old, new, all, key), files=[spot.shown])


def _edited(folders: Folders, *, path: str, old: str, new: str, key: str) -> dict[str, Any]:
    with folders.at(path) as spot:
        if not has_happened(spot, old, new, key):
            return _told("")
        told = f"edited {spot.shown}; the edit had already happened"
        return _told(told, files=[spot.shown])


def _list_files(folders: Folders, *, path: str, pattern: str, max_chars: int) -> dict[str, Any]:
    with folders.at(path) as spot:
        return _told(Listing(spot.folder(), pattern).told(spot.shown, max_chars))


def _grep(
    folders: Folders, *, path: str, pattern: str, glob: str, ignore_case: bool, seconds: float
) -> dict[str, Any]:
    search = Search(pattern, glob, ignore_case=ignore_case, seconds=seconds)
    with folders.at(path) as spot:
        search.run(spot)
    return _told("\n".join(search.lines), notes=list(search.notes()))


def _told(text: str, *, files: Sequence[str] = (), notes: Sequence[str] = ()) -> dict[str, Any]:
    return {"text": text, "files": files, "notes": notes}


_OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "read_file": _read_file,
    "write_file": _write_file,
    "edit_file": _edit_file,
    "edited": _edited,
    "list_files": _list_files,
    "grep": _grep,
}
