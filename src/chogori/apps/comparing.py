"""`chogori compare`: the same questions to two models, and what came out differently.

Every question is asked of both, without tools and at temperature 0. The difference is paired: only
questions that one answers rightly and the other does not say anything about it, and of those the
sign test asks how often so uneven a split would come about by chance.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from chogori.apps.settings import Settings
from chogori.chat import ChatModel, Conversation, MessageBuilder, Options, user
from chogori.errors import ConfigError
from chogori.presets import load


@dataclass(frozen=True, slots=True)
class Question:
    """One of a suite."""

    id: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What both models said to a question, and whether it was right."""

    question: Question
    said: tuple[str, str]

    @property
    def right(self) -> tuple[bool, bool]:
        return holds(self.said[0], self.question.answer), holds(self.said[1], self.question.answer)


@dataclass(frozen=True, slots=True)
class Difference:
    """The second model against the first, in shares of the questions."""

    count: int
    gained: int
    """Questions that only the second answers rightly."""
    lost: int

    @property
    def mean(self) -> float:
        return (self.gained - self.lost) / self.count

    @property
    def margin(self) -> float:
        """Half of the 95 % interval round `mean`, by the normal approximation."""
        square = (self.gained + self.lost) / self.count - self.mean**2
        return 1.96 * math.sqrt(square / self.count)

    @property
    def chance(self) -> float:
        """Of so uneven a split or a worse one, if both were equally good: the exact sign test."""
        flips = self.gained + self.lost
        tail = sum(math.comb(flips, n) for n in range(min(self.gained, self.lost) + 1))
        return min(1.0, 2 * tail / 2**flips)


def compare(
    settings: Settings, specs: tuple[str, str], suite: Path, *, tokens: int, json_wanted: bool
) -> None:
    """Ask, and print the difference and every answer that flips. Raises `ConfigError`."""
    questions = read_suite(suite)
    names = tuple(spec_of(spec) for spec in specs)
    # The first may be asked for hours before the turn of the second comes.
    asyncio.run(_try(settings, names[1], questions[0]))
    said = [asyncio.run(_ask_all(settings, name, questions, tokens)) for name in names]
    asked = [Asked(*each) for each in zip(questions, zip(*said, strict=True), strict=True)]
    difference = difference_of(asked)
    if json_wanted:
        print(json.dumps(_as_json(names, asked, difference)))
    else:
        _print(names, asked, difference)


def spec_of(named: str) -> str:
    """A folder is the checkpoint in it; anything else is a spec."""
    return f"k2:{named}" if Path(named).is_dir() else named


def read_suite(path: Path) -> list[Question]:
    """Questions from a JSON list, or from a JSON object on each line, with the fields `question`,
    `answer` and perhaps `id`. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
        held = json.loads(text) if text.lstrip().startswith("[") else None
        entries: list[Any] = (
            held if held is not None else [json.loads(line) for line in text.splitlines() if line]
        )
        questions = [_question(number, entry) for number, entry in enumerate(entries, 1)]
    except OSError as error:
        raise ConfigError(f"the suite {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no suite ({type(error).__name__}: {error}); expected a JSON list, or an "
            'object on each line: {"id": "q1", "question": "...", "answer": "..."}'
        ) from None
    if not questions:
        raise ConfigError(f"the suite {path} has no questions")
    return questions


def holds(said: str, answer: str) -> bool:
    """Whether the text has the answer in it, and not as a part of a longer word or number."""
    plain = " ".join(said.split()).casefold()
    wanted = re.escape(" ".join(answer.split()).casefold())
    return re.search(rf"(?<![\w])(?<!\d[.,]){wanted}(?![\w]|[.,]\d)", plain) is not None


def difference_of(asked: Sequence[Asked]) -> Difference:
    """The paired difference over all questions."""
    right = [each.right for each in asked]
    return Difference(
        len(asked),
        sum(second and not first for first, second in right),
        sum(first and not second for first, second in right),
    )


def _load(settings: Settings, spec: str) -> ChatModel:
    return load(
        spec, data=settings.data, environ=settings.environ, memory_bytes=settings.memory_bytes
    )


async def _try(settings: Settings, spec: str, question: Question) -> None:
    """Raise what stands in the way of a model, as far as that shows without asking it."""
    model = _load(settings, spec)
    try:
        await model.count(Conversation([user(question.text)]))
    finally:
        await model.aclose()


async def _ask_all(
    settings: Settings, spec: str, questions: Sequence[Question], tokens: int
) -> list[str]:
    model = _load(settings, spec)
    said: list[str] = []
    try:
        for number, question in enumerate(questions, 1):
            print(f"{spec}: question {number} of {len(questions)}", file=sys.stderr, flush=True)
            said.append(await _ask(model, question, tokens))
    finally:
        await model.aclose()
    return said


async def _ask(model: ChatModel, question: Question, tokens: int) -> str:
    builder = MessageBuilder()
    options = Options(temperature=0.0, seed=0, max_tokens=tokens)
    async for delta in model.stream(Conversation([user(question.text)]), (), options):
        builder.add(delta)
    return builder.message.text


def _question(number: int, entry: Any) -> Question:
    if not isinstance(entry, dict):
        raise TypeError(f"entry {number} is {entry!r}")
    fields = cast(dict[str, Any], entry)
    return Question(str(fields.get("id", number)), str(fields["question"]), str(fields["answer"]))


def _print(names: Sequence[str], asked: Sequence[Asked], difference: Difference) -> None:
    for at, name in enumerate(names):
        print(f"{'AB'[at]}  {sum(each.right[at] for each in asked):4} of {len(asked)}  {name}")
    print(
        f"\nB - A  {100 * difference.mean:+.1f} points ± {100 * difference.margin:.1f}; "
        f"{difference.gained} only B, {difference.lost} only A; by chance alone: "
        f"{difference.chance:.2f}"
    )
    for each in asked:
        if each.right[0] != each.right[1]:
            print(f"\n{each.question.id}: {each.question.text}\n  answer: {each.question.answer}")
            for at, said in enumerate(each.said):
                mark = "right" if each.right[at] else "WRONG"
                print(f"  {'AB'[at]} {mark}: {' '.join(said.split())[:200]}")


def _as_json(
    names: Sequence[str], asked: Sequence[Asked], difference: Difference
) -> dict[str, Any]:
    return {
        "models": list(names),
        "questions": difference.count,
        "right": [sum(each.right[at] for each in asked) for at in (0, 1)],
        "difference": difference.mean,
        "margin": difference.margin,
        "chance": difference.chance,
        "flips": [
            {
                "id": each.question.id,
                "question": each.question.text,
                "answer": each.question.answer,
                "said": list(each.said),
                "right": list(each.right),
            }
            for each in asked
            if each.right[0] != each.right[1]
        ],
    }
