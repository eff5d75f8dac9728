"""Makes the vocabulary of `k2:nano`: byte-pair encoding trained on our own documents and code.

    python recipes/nano_tokenizer.py

writes `src/chogori/chat/nano/tiktoken.model`, in the format of the Kimi family and split by its
rules. The same texts give the same file, byte for byte; other texts give another one, and weights
that were trained with the old file are then worth nothing: make it anew only together with them.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import regex

from chogori.chat.markers import RESERVED
from chogori.chat.tokenizer import NANO, SPLITS, write_ranks

SIZE = 4096
"""Tokens of the model, special ones included."""

ROOT = Path(__file__).parent.parent
CORPUS = ("*.md", "docs/**/*.md", "src/**/*.py", "tests/**/*.py", "examples/*.py", "bench/*.py")

Pair = tuple[bytes, bytes]


def train(texts: Iterable[str], size: int = SIZE) -> dict[bytes, int]:
    """The ranks of a vocabulary of `size` tokens, or of fewer where no pair is left to merge.

    Every byte is a token; then again and again the commonest pair of neighbours becomes one. Of
    pairs that are equally common, the first by its bytes does.
    """
    splits = regex.compile(SPLITS, regex.V1)
    counts = Counter(piece.encode() for text in texts for piece in splits.findall(text))
    ranks = {bytes([byte]): byte for byte in range(256)}
    words = _Words(counts)
    while len(ranks) < size - RESERVED and (pair := words.commonest()):
        words.merge(pair)
        ranks.setdefault(b"".join(pair), len(ranks))
    return ranks


class _Words:
    """Every different piece of the texts as the tokens it is made of so far."""

    def __init__(self, counts: Counter[bytes]) -> None:
        self._words = [[bytes([byte]) for byte in word] for word in counts]
        self._counts = list(counts.values())
        self._pairs = Counter[Pair]()
        self._where = defaultdict[Pair, set[int]](set)
        for number in range(len(self._words)):
            self._count(number, 1)

    def commonest(self) -> Pair | None:
        """The pair to merge next."""
        pairs = ((pair, count) for pair, count in self._pairs.items() if count > 1)
        best = min(pairs, key=lambda item: (-item[1], item[0]), default=None)
        return best and best[0]

    def merge(self, pair: Pair) -> None:
        """Make one token of `pair` wherever it stands."""
        for number in sorted(self._where.pop(pair)):
            self._count(number, -1)
            self._words[number] = _merged(self._words[number], pair)
            self._count(number, 1)
        self._pairs.pop(pair, None)

    def _count(self, number: int, sign: int) -> None:
        for pair in pairwise(self._words[number]):
            self._pairs[pair] += sign * self._counts[number]
            if sign > 0:
                self._where[pair].add(number)


def _merged(word: Sequence[bytes], pair: Pair) -> list[bytes]:
    made: list[bytes] = []
    for token in word:
        if made and (made[-1], token) == pair:
            made[-1] += token
        else:
            made.append(token)
    return made


def corpus() -> list[str]:
    """Our own documents and code, in the order of their paths."""
    paths = sorted({path for pattern in CORPUS for path in ROOT.glob(pattern)})
    return [path.read_text(encoding="utf-8") for path in paths]


def main() -> None:
    """Train, and write the file."""
    parser = argparse.ArgumentParser(description="Make the vocabulary of k2:nano.")
    parser.add_argument("--out", type=Path, default=NANO, help="the file to write")
    out: Path = parser.parse_args().out
    ranks = train(corpus())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_ranks(ranks, out)
    print(f"{len(ranks)} tokens and {RESERVED} special ones: {out}")


if __name__ == "__main__":
    main()
