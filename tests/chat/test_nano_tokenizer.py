"""The vocabulary of the nano, and the recipe that makes it."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chogori.chat.tokenizer import NANO, read_ranks
from kimi_strategies import NANO_TOKENIZER
from strategies import texts

ROOT = Path(__file__).parent.parent.parent


def recipe() -> Any:
    spec = spec_from_file_location("nano_tokenizer", ROOT / "recipes" / "nano_tokenizer.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = recipe()
corpora = st.lists(texts | st.text("ab ", max_size=30), max_size=5)


@given(corpora, st.randoms(use_true_random=False))
def test_the_same_texts_give_the_same_vocabulary_in_whatever_order(
    texts: list[str], random: Any
) -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert list(RECIPE.train(texts, 560).items()) == list(RECIPE.train(shuffled, 560).items())


@given(corpora)
def test_every_token_is_a_byte_or_two_tokens_before_it(texts: list[str]) -> None:
    ranks = RECIPE.train(texts, 560)
    assert sorted(ranks.values()) == list(range(len(ranks)))
    for token, rank in ranks.items():
        cuts = (
            (ranks.get(token[:at], rank), ranks.get(token[at:], rank))
            for at in range(1, len(token))
        )
        assert len(token) == 1 or any(max(halves) < rank for halves in cuts)


def test_the_commonest_pair_is_merged_first() -> None:
    ranks = RECIPE.train(["abab ab", "xyxy"], 256 + 256 + 2)
    assert list(ranks)[256:] == [b"ab", b"xy"]


def test_the_nano_is_what_the_recipe_makes() -> None:
    ranks = read_ranks(NANO)
    assert NANO_TOKENIZER.size == RECIPE.SIZE
    assert list(ranks.values()) == list(range(len(ranks)))
    assert list(ranks)[:256] == [bytes([byte]) for byte in range(256)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(NANO_TOKENIZER.encode(readme)) < len(readme.encode()) / 2.5
