"""Children: forked from this process, which is warm and has no thread, so that one costs little."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from typing import Any

from .child import Order, play

MOST_SECONDS = 60.0
"""After so long a child counts as one that hangs."""


class ChildFailed(Exception):
    """A child ended as no child should."""


def run(order: Order, kill_after: float | None = None) -> bool:
    """Run a child to its end; False if it was killed. `kill_after` so many seconds it is killed
    from here, wherever it is. Raises `ChildFailed`."""
    order.result.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _be_child(order)
    deadline = time.monotonic() + (MOST_SECONDS if kill_after is None else kill_after)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if kill_after is None:
                raise ChildFailed(f"it hung: {order}")
            break
        time.sleep(0.001)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if os.waitstatus_to_exitcode(status) != 0:
        raise ChildFailed(order.result.read_text() if order.result.exists() else f"{order}")
    return True


def result(order: Order) -> dict[str, Any]:
    """What the last child wrote down."""
    return json.loads(order.result.read_text())


def _be_child(order: Order) -> None:
    code = 1
    try:
        play(order)
        code = 0
    except BaseException:
        order.result.write_text(traceback.format_exc())
    finally:
        os._exit(code)
