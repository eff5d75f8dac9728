"""The top of every command: what goes wrong becomes one message and an exit code."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from chogori.errors import ChogoriError


@contextmanager
def told(data: Path) -> Generator[None]:
    """Exit 1 with a message for an error, 130 for Ctrl-C; a traceback goes into a file in `data`,
    never to the terminal."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a reader that has gone is no surprise
    except ChogoriError as error:
        _say("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]))
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        _say("\n".join(["stopped", *_notes(stop)]))
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read us has gone; Python must not fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        _say(_unexpected(error, data))
        raise SystemExit(1) from None


def _notes(error: BaseException | None) -> list[str]:
    """The notes of `error` and of what it came from."""
    notes: list[str] = []
    while error is not None:
        notes += getattr(error, "__notes__", ())
        error = error.__cause__ or error.__context__
    return notes


def _unexpected(error: Exception, data: Path) -> str:
    run, path = getattr(error, "run_id", None), getattr(error, "path", None)
    if run and path:
        return f"error: run {run} failed unexpectedly ({error}); its traceback is in {path}"
    what = f"{type(error).__name__}: {error}"
    try:
        path = keep_traceback(error, data)
    except OSError:
        return f"error: chogori failed unexpectedly ({what})"
    return f"error: chogori failed unexpectedly ({what}); the traceback is in {path}"


def keep_traceback(error: Exception, data: Path) -> Path:
    """The file in `data` that now holds the traceback of `error`. Raises `OSError`."""
    folder = data / "failures"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.txt"
    path.write_text("".join(traceback.format_exception(error)), errors="replace")
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
