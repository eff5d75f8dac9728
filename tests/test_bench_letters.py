"""The letters of `bench/letters.py`, and how what is said of them is judged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from letters import COLUMNS, rows_in
from letters_data import make_letters

BENCH = Path(__file__).parent.parent / "bench"


def test_a_letter_holds_its_company_and_its_amount_and_others_beside_them() -> None:
    letters = make_letters(1)
    assert make_letters(1) == letters != make_letters(2)
    assert len({letter.company for letter in letters}) == len(letters) == 40
    for letter in letters:
        amount = f"EUR {letter.cents // 100:,}.{letter.cents % 100:02}"
        assert letter.company in letter.text
        assert letter.text.count(amount) == 1
        others = set(re.findall(r"EUR [\d,.]*\d", letter.text)) - {amount}
        assert others, "there is an amount that is not asked for"


@pytest.mark.parametrize(
    ("company", "amount", "is_right"),
    [
        ("{company}", "{amount}", True),
        ("the company {company}.", "EUR {amount} in all", True),
        ("{company}", "{plain}", True),
        ("{company}", "1", False),
        ("{company}", None, False),
        ("Somebody Else Ltd", "{amount}", False),
        (None, "{amount}", False),
    ],
)
def test_a_row_is_right_if_it_says_what_the_letter_says(
    company: str | None, amount: str | None, is_right: bool
) -> None:
    letter = make_letters(1)[0]
    known = {
        "company": letter.company,
        "amount": f"{letter.cents / 100:,.2f}",
        "plain": f"{letter.cents / 100}",
    }
    said = [None if text is None else text.format(**known) for text in (company, amount)]
    assert letter.is_right(*said) is is_right


def test_rows_are_read_from_whatever_table_a_model_writes() -> None:
    text = (
        "Here it is:\n1 | A Ltd | EUR 5\n| 2 | B Inc | 6.50 |\n|---|---|---|\nLetter 3 | C AG | 7"
    )
    assert rows_in(text) == [(1, "A Ltd", "EUR 5"), (2, "B Inc", "6.50"), (3, "C AG", "7")]


def test_a_letter_that_comes_twice_or_never_is_seen(tmp_path: Path) -> None:
    letters = make_letters(1, 2)
    rows = [dict(zip(COLUMNS, ("?", it.company, it.cents / 100), strict=True)) for it in letters]
    table = "\n".join(f"1 | ? | {it.company} | {it.cents / 100}" for it in letters)
    script = tmp_path / "script.jsonl"
    replies = [
        {"content": json.dumps(rows[0]), "match": re.escape(letters[0].text) + ".*null"},
        {"content": json.dumps(rows[1]), "match": re.escape(letters[1].text) + ".*null"},
        {"content": table, "match": "Here are 2 letters"},
        {"content": "no idea", "match": ".*"},
    ]
    script.write_text("\n".join(map(json.dumps, replies)))
    done = subprocess.run(
        [sys.executable, str(BENCH / "letters.py"), f"--model=scripted:{script}", "--letters=2"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Swarm.map +2 of 2 right, 2 appear exactly once", done.stdout)
    assert re.search(r"one agent +1 of 2 right, 0 appear exactly once", done.stdout)
