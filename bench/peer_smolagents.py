"""Runs inside the peer's own environment: questions on stdin, one JSON line an answer.

Each question has a process of its own, killed when its time is up. What its programs print goes
nowhere: only the answers are told.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.queues import Queue
from typing import Any


def solve(question: str, url: str, answers: Queue[str]) -> None:
    from smolagents import CodeAgent, OpenAIServerModel  # pyright: ignore

    model: Any = OpenAIServerModel(
        model_id="local", api_base=url, api_key="none", temperature=0.0, max_tokens=800
    )
    agent: Any = CodeAgent(
        tools=[],
        model=model,
        additional_authorized_imports=["numpy", "pandas", "sympy", "json", "csv", "os", "glob"],
        executor_kwargs={"additional_functions": {"open": open}},
        verbosity_level=0,
    )
    answers.put(str(agent.run(f"{question}\n(Files are in the current directory.)")))


def main() -> None:
    url, limit = sys.argv[1], float(sys.argv[2])
    context = multiprocessing.get_context("fork")
    told_to = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for question in json.load(sys.stdin):
        answers: Queue[str] = context.Queue()
        started = time.monotonic()
        process = context.Process(target=solve, args=(question, url, answers))
        process.start()
        process.join(limit)
        process.kill()
        process.join()
        answer = "" if answers.empty() else answers.get()
        told = {"answer": answer, "seconds": time.monotonic() - started}
        print(json.dumps(told), file=told_to, flush=True)


if __name__ == "__main__":
    main()
