"""How often Python looks for cycles of dead values.

A run makes many values that live as long as it does, and hardly any cycle. At the default, with
hundreds of agents in one process, a fifth of the processor's time went into looking at them again
and again. A library has no business with a setting of the whole process, so commands make it.
"""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """From here on the collector looks after a hundred times as many new values."""
    gc.set_threshold(70_000, 20, 20)
