"""Text to ids and back, by a vocabulary file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat.markers import END, MEDIA_BEGIN, MEDIA_START, RESERVED, THINK_END
from chogori.chat.tokenizer import LONGEST_RUN, NANO, SPLITS, Tokenizer, read_ranks, write_ranks
from chogori.errors import ConfigError
from kimi_strategies import NANO_TOKENIZER, kimi_texts
from published import published, published_cases
from strategies import texts

RANKS = read_ranks(NANO)
FIRST = len(RANKS)
"""The first special id of the nano."""


def slow_ids(text: str) -> Iterator[int]:
    """Byte-pair encoding read aloud: split, then merge the pair of lowest rank, again and again."""
    for piece in regex.findall(SPLITS, text, regex.V1):
        tokens = [bytes([byte]) for byte in piece.encode()]
        while known := [
            (RANKS[left + right], at)
            for at, (left, right) in enumerate(pairwise(tokens))
            if left + right in RANKS
        ]:
            at = min(known)[1]
            tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
        yield from (RANKS[token] for token in tokens)


def slow_pieces(text: str, longest: int) -> Iterator[str]:
    """A new piece wherever a run, with or without white space, has become too long."""
    start = length = 0
    for at, (before, character) in enumerate(pairwise(" " + text)):
        length = length + 1 if at and before.isspace() == character.isspace() else 1
        if length > longest:
            yield text[start:at]
            start, length = at, 1
    yield text[start:]


@given(texts | kimi_texts)
def test_text_comes_back_as_it_was(text: str) -> None:
    assert NANO_TOKENIZER.decode(NANO_TOKENIZER.encode(text)) == text


@given(texts | kimi_texts)
def test_pieces_are_merged_by_rank(text: str) -> None:
    assert NANO_TOKENIZER.encode(text) == list(slow_ids(text))


@given(kimi_texts)
def test_no_text_becomes_a_special_token_unless_that_is_asked_for(text: str) -> None:
    assert all(id < FIRST for id in NANO_TOKENIZER.encode(text))


@given(st.sampled_from(sorted(NANO_TOKENIZER.special)), texts)
def test_names_of_special_tokens_become_their_ids_where_that_is_asked_for(
    name: str, text: str
) -> None:
    ids = NANO_TOKENIZER.encode(f"{text}{name}{text}", special=True)
    plain = NANO_TOKENIZER.encode(text)
    assert ids == [*plain, NANO_TOKENIZER.special[name], *plain]
    assert NANO_TOKENIZER.decode(ids) == f"{text}{name}{text}"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("汉字abc", ["汉字", "abc"]),
        ("北京市 Pascal", ["北京市", " Pascal"]),
        ("12345 CAN'T", ["123", "45", " CAN'T"]),
        ("a  b\n\n c", ["a", " ", " b", "\n\n", " c"]),
    ],
)
def test_text_is_split_by_the_published_rules(text: str, pieces: list[str]) -> None:
    assert regex.findall(SPLITS, text, regex.V1) == pieces


@pytest.mark.parametrize("run", ["x", " ", "\n", "漢"])
def test_a_long_run_is_cut_as_published_tokenizers_cut_it(run: str) -> None:
    text = f"ab  {run * (2 * LONGEST_RUN + 7)} end"
    pieces = [NANO_TOKENIZER.encode(piece) for piece in slow_pieces(text, LONGEST_RUN)]
    assert len(pieces) == 3
    assert NANO_TOKENIZER.encode(text) == [id for piece in pieces for id in piece]


def test_a_lone_surrogate_is_read_as_the_replacement_character() -> None:
    assert NANO_TOKENIZER.decode(NANO_TOKENIZER.encode("a\ud800b")) == "a\ufffdb"


def test_special_ids_follow_the_file() -> None:
    assert NANO_TOKENIZER.size == FIRST + RESERVED
    assert NANO_TOKENIZER.id_of(END) == FIRST + 2
    assert NANO_TOKENIZER.id_of(MEDIA_START) == NANO_TOKENIZER.id_of(MEDIA_BEGIN)
    assert NANO_TOKENIZER.name_of(FIRST + 23) == THINK_END.text
    assert NANO_TOKENIZER.name_of(FIRST + 5) == f"<|reserved_token_{FIRST + 5}|>"
    assert NANO_TOKENIZER.name_of(FIRST - 1) is None
    assert NANO_TOKENIZER.stop_ids == {FIRST + 1, FIRST + 2}


@pytest.mark.parametrize("id", [-1, FIRST + RESERVED])
def test_an_id_beyond_the_vocabulary_is_refused(id: int) -> None:
    with pytest.raises(ValueError, match=f"there is no token {id}: ids end at"):
        NANO_TOKENIZER.decode([id])


def test_vocabularies_are_told_apart() -> None:
    other = dict(RANKS)
    last, before = sorted(RANKS, key=RANKS.__getitem__)[-2:]
    other[last], other[before] = RANKS[before], RANKS[last]
    assert Tokenizer(other).fingerprint != NANO_TOKENIZER.fingerprint
    assert Tokenizer(dict(reversed(RANKS.items()))).fingerprint == NANO_TOKENIZER.fingerprint


def test_a_vocabulary_is_written_as_it_was_read(tmp_path: Path) -> None:
    write_ranks(RANKS, tmp_path / "tiktoken.model")
    assert (tmp_path / "tiktoken.model").read_bytes() == NANO.read_bytes()
    assert Tokenizer.from_file(tmp_path).fingerprint == NANO_TOKENIZER.fingerprint


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: [*lines, b"{}"], "line 3841 of .* is b'{}'; a vocabulary"),
        (lambda lines: [*lines, b"YQ== x"], "line 3841"),
        (lambda lines: [*lines, b"Y!== 3840"], "line 3841"),
        (lambda lines: lines[:-2] + lines[-1:], "not every rank from 0 to 3838"),
        (lambda lines: [*lines, lines[-1]], "not every rank"),
        (lambda lines: [], "no token for 256 of the 256 bytes"),
        (lambda lines: lines[:200], r"no token for 56 of the 256 bytes \(the first is 0xc8\)"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, spoil, said: str) -> None:  # pyright: ignore
    path = tmp_path / "tiktoken.model"
    path.write_bytes(b"\n".join(spoil(NANO.read_bytes().splitlines())))
    with pytest.raises(ConfigError, match=said):
        Tokenizer.from_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope.* cannot be read: No such file"):
        Tokenizer.from_file(tmp_path / "nope")


@pytest.fixture(scope="module")
def kimi() -> Tokenizer:
    return Tokenizer.from_file(published("tiktoken.model"))


def test_the_published_cases_are_tokenized_as_published(kimi: Tokenizer) -> None:
    for case in published_cases("tokenizer_golden.json"):
        assert kimi.encode(case["text"]) == case["ids"]
        assert kimi.encode(case["text"], special=True) == case["ids_with_special"]
        assert kimi.decode(case["ids_with_special"]) == case["text"]
    for case in published_cases("tokenizer_golden.json", "random"):
        assert kimi.encode(case["text"]) == case["ids"]
        assert kimi.decode(case["ids"]) == case["text"]


def test_the_published_names_have_the_published_ids(kimi: Tokenizer) -> None:
    config = json.loads(published("tokenizer_config.json").read_text())
    for id, token in config["added_tokens_decoder"].items():
        assert kimi.special[token["content"]] == int(id)
    assert kimi.size == 163_840
