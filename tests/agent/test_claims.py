"""Numbers and quotes of an answer, looked up."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from agent_harness import calling
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chogori.agent import Evidence
from chogori.agent.claims import claims_of
from chogori.chat import Conversation, ToolCall, assistant, system, tool_result, user

PRINTED: list[Callable[[str], str]] = [
    "{}".format,
    "total = {}".format,
    "[1, {}, 'x']".format,
    '{{"value":{},"next":0}}'.format,
    "x={};".format,
    "${}".format,
    "{}%".format,
    "{}\n".format,
    "({})".format,
    "Decimal('{}')".format,
    "| a | {} |".format,
    "{} km".format,
    "{}km".format,
    "<td>{}</td>".format,
]
STATED: list[Callable[[str], str]] = [
    "{}".format,
    "It is {}.".format,
    "The total is **{}**, as asked.".format,
    "It is {}\u00a0km.".format,
    "\n- {}\n".format,
    "{}%".format,
    "({})".format,
    "Answer: {}!".format,
    "`{}`".format,
    "It is “{}”.".format,
]
GROUPS = [",", "_", "\u00a0", "\u202f", " ", "'"]
printed, stated = st.sampled_from(PRINTED), st.sampled_from(STATED)


def shown(text: str) -> Evidence:
    evidence = Evidence()
    evidence.add(text, "call-1")
    return evidence


def statuses(evidence: Evidence, answer: str) -> set[str]:
    return {claim.status for claim in evidence.check(answer)}


def grouped(number: int, mark: str) -> str:
    return f"{number:,}".replace(",", mark)


@given(st.integers(-(10**60), 10**60), printed, stated, st.sampled_from(["", *GROUPS]))
@example(101103, "{}".format, "{}".format, " ")
def test_a_whole_number_that_was_printed_supports_it_however_it_is_grouped(
    number: int, show: Callable[[str], str], say: Callable[[str], str], mark: str
) -> None:
    evidence = shown(show(str(number)))
    assert statuses(evidence, say(grouped(number, mark))) == {"supported"}


@given(st.integers(-(10**60), 10**60), stated, st.sampled_from(GROUPS))
def test_a_number_that_was_printed_in_groups_supports_it_without(
    number: int, say: Callable[[str], str], mark: str
) -> None:
    assert statuses(shown(f"total: {grouped(number, mark)}"), say(str(number))) == {"supported"}


@given(
    # Where a float has fewer decimals than it is printed with, what is printed is noise.
    st.floats(-1e8, 1e8, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9),
    printed,
    stated,
    st.integers(0, 6),
)
@example(2.675, "{}".format, "{}".format, 2)
@example(0.125, "{}".format, "{}".format, 2)
@example(1e-05, "{}".format, "{}".format, 6)
def test_a_decimal_number_that_was_printed_supports_it_rounded(
    number: float, show: Callable[[str], str], say: Callable[[str], str], decimals: int
) -> None:
    evidence = shown(show(repr(number)))
    assert statuses(evidence, say(f"{number:.{decimals}f}")) == {"supported"}
    assert statuses(evidence, say(f"{number:,.{decimals}f}")) == {"supported"}


@given(st.integers(0, 10**6), stated)
def test_a_whole_number_printed_as_a_float_supports_it(
    number: int, say: Callable[[str], str]
) -> None:
    assert statuses(shown(f"{number}.0"), say(str(number))) == {"supported"}
    assert statuses(shown(str(number)), say(f"{number}.00")) == {"supported"}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.integers(0, 10**9), stated)
def test_a_number_that_was_not_printed_is_unsupported(
    numbers: list[int], other: int, say: Callable[[str], str]
) -> None:
    assume(other not in numbers)
    evidence = shown("\n".join(map(str, numbers)))
    assert statuses(evidence, say(f"{other + 0.5:.1f}")) == {"unsupported"}
    if not any(str(other) in str(number) for number in numbers):
        assert statuses(evidence, say(str(other))) == {"unsupported"}


@given(st.integers(10**40, 10**41), st.integers(0, 40))
def test_one_wrong_digit_of_a_long_number_is_noticed(number: int, place: int) -> None:
    digits = list(str(number))
    digits[place] = str((int(digits[place]) + 1) % 10)
    assume(digits[0] != "0")
    assert statuses(shown(str(number)), f"It is {''.join(digits)}.") == {"unsupported"}


@given(st.lists(st.integers(100, 999), min_size=2, max_size=9), st.sampled_from([" ", ",", ", "]))
def test_each_number_of_a_list_is_evidence(numbers: list[int], mark: str) -> None:
    evidence = shown(f"[{mark.join(map(str, numbers))}]")
    for number in numbers:
        assert statuses(evidence, f"It holds {number}.") == {"supported"}


@given(st.decimals(-(10**9), 10**9, places=6), st.integers(0, 6))
def test_a_decimal_supports_its_rounding_up_and_down_at_a_tie(
    number: Decimal, decimals: int
) -> None:
    for rounding in ("ROUND_HALF_UP", "ROUND_HALF_DOWN", "ROUND_HALF_EVEN"):
        rounded = number.quantize(Decimal(1).scaleb(-decimals), rounding)
        assert statuses(shown(str(number)), f"= {rounded:f}") == {"supported"}


def test_a_minus_of_the_typographers_is_a_minus() -> None:
    assert statuses(shown("-5"), "It is \u22125.") == {"supported"}
    assert statuses(shown("5"), "It fell by -5.") == {"supported"}, "a sign may stand for a word"
    assert statuses(shown("-5"), "It fell by 5.") == {"unsupported"}


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("It is 5.", ["5"]),
        ("5 and 5 and 5.0", ["5", "5.0"]),
        ("1. First\n2. Second\n  3) Third", []),
        ("1. There are 7\n2. There are 8", ["7", "8"]),
        ("On 2026-01-27 at 12:05 it was 3 degrees", ["2026-01-27", "12:05", "3"]),
        ('He said "to be" and `x = 1`', ["1", "to be"]),
        ("the v2 of file3.txt and abc123", []),
        ("From 10-3 or 3-10", ["10", "3"]),
        ("12,480.50 $", ["12,480.50"]),
        ("1,2,3", ["1", "2", "3"]),
        ("nothing at all", []),
        ("", []),
        ("1e5", ["1e5"]),
    ],
)
def test_what_an_answer_claims(answer: str, claims: list[str]) -> None:
    assert claims_of(answer) == claims


def test_a_quote_is_supported_by_its_words_whatever_their_case_and_spacing() -> None:
    evidence = shown("The  Quick\nbrown *fox* said: `jump_over` it")
    for quote in ('"the quick brown fox"', "“BROWN fox”", "“jump_over”", "«fox said»"):
        assert statuses(evidence, f"It says {quote}.") == {"supported"}
    assert statuses(evidence, 'It says "the slow fox".') == {"unsupported"}
    assert statuses(evidence, 'It says "fox brown".') == {"unsupported"}


def test_a_date_is_supported_as_a_whole() -> None:
    evidence = shown("created 2026-01-27 12:05:59")
    assert statuses(evidence, "On 2026-01-27.") == {"supported"}
    assert statuses(evidence, "On 2026-01-28.") == {"unsupported"}
    assert statuses(evidence, "In 2026, at 12:05:59.") == {"supported"}
    assert statuses(shown("2026, then 1, then 27"), "On 2026-01-27.") == {"unsupported"}


def test_a_claim_tells_where_it_was_found_first() -> None:
    call = ToolCall("call-7", "count", "{}")
    conversation = Conversation(
        [
            system("Use 4 words."),
            user("Is 17 prime?"),
            calling(("count", "{}")),
            tool_result(call, "17 has 2 divisors"),
            assistant("There are 99 of them"),
        ]
    )
    claims = Evidence.of(conversation).check("17 is prime: it has 2 divisors, not 4 or 99.")
    assert [(claim.text, claim.status, claim.evidence) for claim in claims] == [
        ("17", "supported", "task"),
        ("2", "supported", "call-7"),
        ("4", "unsupported", ""),
        ("99", "unsupported", ""),
    ], "neither the instructions nor the model's own words are evidence"


@given(st.text(st.sampled_from('0123456789.,-_ \u202f:eE"`“”«»*\n')) | st.text())
@example("0«00»000")
def test_any_text_is_evidence_and_any_text_can_be_checked(text: str) -> None:
    evidence = shown(text)
    for claim in evidence.check(text):
        assert claim.text in text
    Evidence().check(text)


def test_the_numbers_of_a_text_support_the_same_text() -> None:
    text = "In 2024 there were 12,480 (3.5 %), of them 101 103 107; at 10:30, -7.25e3."
    assert statuses(shown(text), text) == {"supported"}


def test_a_long_log_of_times_is_read_in_one_go() -> None:
    lines = [
        f"2026-01-{d:02}T{h:02}:{m:02}:{s:02} GET /{d}"
        for d in range(1, 29)
        for h in range(24)
        for m in range(0, 60, 5)
        for s in range(0, 60, 20)
    ]
    assert statuses(shown("\n".join(lines)), "At 10:05:20 on 2026-01-27.") == {"supported"}
