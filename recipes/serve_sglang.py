"""How SGLang serves the published weights: the flags of the model cards, as a command line.

python recipes/serve_sglang.py
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

PARSER = "kimi_k2"


def serve_sglang(
    model: str = "moonshotai/Kimi-K2-Thinking", *, gpus: int = 8, reasoning: bool = True
) -> Sequence[str]:
    """On one node. Reach it with `chogori ask --model http://HOST:30000/v1`."""
    flags = ["--tp", str(gpus), "--trust-remote-code", "--tool-call-parser", PARSER]
    if reasoning:
        flags += ["--reasoning-parser", PARSER]
    return ["sglang", "serve", "--model-path", model, *flags]


if __name__ == "__main__":
    print(shlex.join(serve_sglang()))
    print(shlex.join(serve_sglang("moonshotai/Kimi-K2.5")))
