"""`chogori compare`: paired differences, and the answers that flip."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from cli_harness import Cli
from hypothesis import given
from hypothesis import strategies as st

from chogori.apps.comparing import Asked, Difference, Question, difference_of, holds, read_suite
from chogori.errors import ConfigError

FOUR = Question("q", "2 + 2?", "4")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("The answer is 4.", "4", True),
        ("**4**", "4", True),
        ("It is 14.", "4", False),
        ("It is 4.5", "4", False),
        ("3.4", "4", False),
        ("1,400", "400", False),
        ("new\n york", "New York", True),
        ("Yorkshire", "York", False),
        ("", "4", False),
        ("a+b", "a+b", True),
    ],
)
def test_an_answer_is_held_by_a_text_as_a_whole(said: str, answer: str, right: bool) -> None:
    assert holds(said, answer) == right


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_difference_is_that_of_the_shares(right: list[tuple[bool, bool]]) -> None:
    asked = [Asked(FOUR, ("4" if a else "5", "4" if b else "5")) for a, b in right]
    found = difference_of(asked)
    shares = [sum(each[at] for each in right) / len(right) for at in (0, 1)]
    assert found.mean == pytest.approx(shares[1] - shares[0])
    scores = [b - a for a, b in right]
    variance = sum((score - found.mean) ** 2 for score in scores) / len(scores)
    assert found.margin == pytest.approx(1.96 * math.sqrt(variance / len(scores)), abs=1e-9)


def test_the_sign_test_is_that_of_a_fair_coin() -> None:
    assert Difference(100, 0, 0).chance == 1
    assert Difference(100, 5, 5).chance == 1
    assert Difference(100, 6, 0).chance == pytest.approx(2 / 64)
    assert Difference(100, 1, 6).chance == pytest.approx(2 * (1 + 7) / 128)


def test_a_suite_is_a_list_or_an_object_a_line(tmp_path: Path) -> None:
    entries = [{"id": "a", "question": "2 + 2?", "answer": 4}, {"question": "b", "answer": "c"}]
    expected = [Question("a", "2 + 2?", "4"), Question("2", "b", "c")]
    path = tmp_path / "suite"
    path.write_text(json.dumps(entries, indent=1))
    assert read_suite(path) == expected
    path.write_text("\n".join(map(json.dumps, entries)))
    assert read_suite(path) == expected


@pytest.mark.parametrize("text", ["", "[]", "{", '{"question": "x"}', "3", "[3]"])
def test_what_is_no_suite_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite"
    path.write_text(text)
    with pytest.raises(ConfigError, match="suite"):
        read_suite(path)


def suite(cli: Cli) -> str:
    path = cli.work / "suite.jsonl"
    entries = [
        {"id": "sum", "question": "2 + 2?", "answer": "4"},
        {"id": "town", "question": "Where?", "answer": "Paris"},
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    return str(path)


def scripted(cli: Cli, name: str, *said: str) -> str:
    path = cli.work / f"{name}.jsonl"
    lines = [{"match": "2", "content": said[0]}, {"match": "Where", "content": said[1]}]
    path.write_text("\n".join(map(json.dumps, lines)))
    return f"scripted:{path}"


def test_every_flip_is_shown_and_no_other_answer(cli: Cli) -> None:
    a = scripted(cli, "a", "It is 4.", "Paris")
    b = scripted(cli, "b", "It is 5.", "In Paris")
    done = cli.run("compare", a, b, "--suite", suite(cli))
    assert "B - A  -50.0 points" in done.stdout
    assert "0 only B, 1 only A" in done.stdout
    assert "A right: It is 4." in done.stdout
    assert "B WRONG: It is 5." in done.stdout
    assert "Where?" not in done.stdout
    told = json.loads(cli.run("compare", a, b, "--suite", suite(cli), "--json").stdout)
    assert (told["right"], told["difference"]) == ([2, 1], -0.5)
    assert [flip["id"] for flip in told["flips"]] == ["sum"]


def test_a_checkpoint_may_be_named_by_its_folder(cli: Cli) -> None:
    from chogori.engine.k2 import NANO

    done = cli.run("compare", str(NANO), "k2:nano", "--suite", suite(cli), "--tokens", "2")
    assert "B - A  +0.0 points" in done.stdout
    assert f"k2:{NANO}" in done.stdout


def test_what_the_second_lacks_is_told_before_the_first_is_asked(cli: Cli) -> None:
    a = scripted(cli, "a", "It is 4.", "Paris")
    empty = cli.work / "empty"
    empty.mkdir()
    for second in ("nothing", str(empty)):
        done = cli.run("compare", a, second, "--suite", suite(cli))
        assert done.returncode == 1
        assert second in done.stderr
        assert "question 1" not in done.stderr
