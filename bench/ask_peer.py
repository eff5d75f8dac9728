"""Twelve questions through smolagents' CodeAgent and through Chogori: one model, one run.

    python bench/ask_peer.py [--seed 1]

The peer gets a virtual environment of its own (`.venv-peers/smolagents`), the same model file
behind llama.cpp's server, and 120 s a question. Exits 1 if the peer did not run, or if Chogori
answers fewer than it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

from ask_questions import Question, accepts, make_suite
from ask_suite import ask_all
from chogori.presets import KNOWN_MODELS, find_model

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers"
SECONDS = 120


@contextlib.contextmanager
def serving(path: Path) -> Generator[str]:
    """llama.cpp's own server over `path`, in a process of its own."""
    code = (
        "import sys, os, xllamacpp as x\n"
        "p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 16384; p.n_parallel = 1\n"
        "p.cpuparams.n_threads = len(os.sched_getaffinity(0)); p.verbosity = -1\n"
        "s = x.Server(p); print('at', s.listening_address, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None, "its output is a pipe"
        address = next(line.split()[1] for line in server.stdout if line.startswith("at "))
        yield f"{address}/v1"
        server.kill()


def peer_python() -> Path:
    """The interpreter of the peer's environment, made on first use."""
    folder = PEERS / "smolagents"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        print("installing smolagents into", folder, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = ["smolagents[openai]==1.26.0", "numpy", "pandas", "sympy"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "made").touch()
    return python


def ask_peer(questions: list[Question], workspace: Path, url: str) -> list[tuple[str, float]]:
    """(answer, seconds) of each question; an empty answer where there was none in time."""
    asked = json.dumps([question.text for question in questions])
    command = [str(peer_python()), str(HERE / "peer_smolagents.py"), url, str(SECONDS)]
    answers: list[tuple[str, float]] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=workspace
    ) as process:
        assert process.stdin is not None, "a pipe"
        assert process.stdout is not None, "a pipe"
        process.stdin.write(asked)
        process.stdin.close()
        for line in process.stdout:
            told = json.loads(line)
            question = questions[len(answers)]
            answers.append((told["answer"], told["seconds"]))
            mark = "right" if accepts(question, told["answer"]) else "WRONG"
            text = " ".join(told["answer"].split())[:60]
            print(f"{mark}  {told['seconds']:5.1f} s  {question.kind:<13} | {text}", flush=True)
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description="smolagents and Chogori on the same questions.")
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        questions = make_suite(seed, workspace)
        print("smolagents' CodeAgent")
        with serving(find_model(KNOWN_MODELS["local"])) as url:
            theirs = ask_peer(questions, workspace, url)
        print("\nChogori")
        tally = asyncio.run(ask_all([(workspace, questions)], verbose=False))
    if len(theirs) < len(questions):
        print(
            f"the peer answered {len(theirs)} of {len(questions)} questions and ended", flush=True
        )
        return 1
    their_right = sum(accepts(q, text) for q, (text, _) in zip(questions, theirs, strict=True))
    our_right = sum(map(sum, tally.right.values()))
    our_seconds = [one for kind in tally.seconds.values() for one in kind]
    their_seconds = [seconds for _, seconds in theirs]
    ours, peer = statistics.median(our_seconds), statistics.median(their_seconds)
    met = our_right >= their_right
    print(f"\n{'':<28} {'right':<8} seconds (median)")
    print(f"{'smolagents 1.26.0':<28} {their_right}/{len(questions):<6} {peer:.1f}")
    print(f"{'chogori ' + version('chogori'):<28} {our_right}/{len(questions):<6} {ours:.1f}")
    print(f"\nwanted: at least as many right; measured: {our_right} and {their_right}; "
          f"{'met' if met else 'MISSED'}; seconds, peer over ours: {peer / ours:.1f}; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
