"""How vLLM serves the published weights: the flags of the model cards, as a command line.

    python recipes/serve_vllm.py

The parsers of calls and reasoning must be named, or replies come with markers in their text; for
K2-Instruct, which does not reason, leave `reasoning` out. Eight GPUs of 141 GB hold the INT4
weights of K2 Thinking and K2.5 and the cache of 256k tokens (docs/scale.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

PARSER = "kimi_k2"


def serve_vllm(
    model: str = "moonshotai/Kimi-K2-Thinking",
    *,
    gpus: int = 8,
    reasoning: bool = True,
    vision: bool = False,
) -> Sequence[str]:
    """On one node. Reach it with `chogori ask --model http://HOST:8000/v1`."""
    flags = ["-tp", str(gpus), "--trust-remote-code", "--enable-auto-tool-choice"]
    flags += ["--tool-call-parser", PARSER]
    if reasoning:
        flags += ["--reasoning-parser", PARSER]
    if vision:  # the tower is small: a copy on every GPU is faster than a share of it
        flags += ["--mm-encoder-tp-mode", "data"]
    return ["vllm", "serve", model, *flags]


if __name__ == "__main__":
    print(shlex.join(serve_vllm()))
    print(shlex.join(serve_vllm("moonshotai/Kimi-K2.5", vision=True)))
