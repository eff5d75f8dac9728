"""Text to token ids and back, by the vocabulary file of the Kimi family (`tiktoken.model`).

The file has one token a line, its bytes in base64 and its rank. Text is split by `SPLITS`, each
piece is merged by rank (tiktoken's byte-pair encoding), and 256 special ids follow the file's.

Special tokens are off unless asked for: text that reads like `<|im_end|>` becomes plain tokens,
so that nobody can write themselves another role. Only a template puts markers, by their ids.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from chogori.chat.markers import END, END_OF_TEXT, MEDIA_BEGIN, MEDIA_START, Marker, special_ids
from chogori.errors import ConfigError

NANO = Path(__file__).parent / "nano" / "tiktoken.model"
"""A vocabulary of our own, small enough to come with the package."""

_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLITS = "|".join(
    (
        r"[\p{Han}]+",
        rf"{_BEFORE}[{_UPPER}]*[{_LOWER}]+{_CONTRACTED}",
        rf"{_BEFORE}[{_UPPER}]+[{_LOWER}]*{_CONTRACTED}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""Where text is cut before anything is merged: Chinese characters apart from other letters, and
numbers by three digits (`tokenization_kimi.py`, published with the models)."""

LONGEST_TEXT = 400_000
LONGEST_RUN = 25_000
"""Characters. Longer texts, and longer runs with or without white space, are cut: published
tokenizers do so to spare the merging, and ids must be the same as theirs."""

_RUN = re.compile(r"\s+|\S+")


class Tokenizer:
    """A vocabulary file, and the special ids that follow it. Safe to share between threads."""

    def __init__(self, ranks: Mapping[bytes, int], *, name: str = "tiktoken.model") -> None:
        """`ranks` must hold every single byte, and every rank from 0 on once."""
        self.special = special_ids(len(ranks))
        self.size = len(ranks) + len(self.special)
        self._names = {id: name for name, id in self.special.items()}
        self._ranks = ranks
        self._encoding = _encoding(ranks, self.special, name)

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """The tokenizer of a `tiktoken.model` file, or of the folder it lies in.

        Raises `ConfigError`, with the line, where the file is not one.
        """
        if path.is_dir():
            path /= "tiktoken.model"
        return cls(read_ranks(path), name=path.name)

    @cached_property
    def fingerprint(self) -> str:
        """Tells vocabularies apart: ids mean something only together with it."""
        tokens = sorted(self._ranks, key=self._ranks.__getitem__)
        sized = (b"%d:%b" % (len(token), token) for token in tokens)
        return sha256(b"".join(sized)).hexdigest()[:16]

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a reply."""
        return frozenset((self.id_of(END), self.id_of(END_OF_TEXT)))

    def id_of(self, marker: Marker) -> int:
        """The id of a marker."""
        return self.special[MEDIA_BEGIN.text if marker == MEDIA_START else marker.text]

    def name_of(self, id: int) -> str | None:
        """The name of a special id; None for any other."""
        return self._names.get(id)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of `text`. With `special`, the names of special tokens become their ids: never
        for text that comes from elsewhere."""
        ids: list[int] = []
        for piece in _cut(text):
            if special:
                ids += self._encoding.encode(piece, allowed_special="all")
            else:
                ids += self._encoding.encode_ordinary(piece)
        return ids

    def bytes_of(self, id: int) -> bytes:
        """The bytes of one token; of a special one, its name. Raises `ValueError` beyond `size`."""
        if not 0 <= id < self.size:
            raise ValueError(f"there is no token {id}: ids end at {self.size - 1}")
        return self._encoding.decode_single_token_bytes(id)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`. A character whose bytes are not whole becomes U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")


def read_ranks(path: Path) -> dict[bytes, int]:
    """The tokens of a vocabulary file and their ranks. Raises `ConfigError`."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"the vocabulary {path} cannot be read: {error.strerror}") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ConfigError(
                f"line {number} of {path} is {line[:60]!r}; a vocabulary (tiktoken.model) has a "
                "token in base64 and its rank in each line"
            ) from None
    _check(ranks, len(lines), path)
    return ranks


def write_ranks(ranks: Mapping[bytes, int], path: Path) -> None:
    """Write a vocabulary file, by rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    path.write_bytes(b"".join(b"%b %d\n" % (base64.b64encode(t), rank) for t, rank in ordered))


def _check(ranks: Mapping[bytes, int], lines: int, path: Path) -> None:
    if len(ranks) != lines or sorted(ranks.values()) != list(range(lines)):
        raise ConfigError(
            f"the vocabulary {path} has {lines} lines, but not every rank from 0 to {lines - 1} "
            "and every token once; it may be cut short or put together of two"
        )
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ConfigError(
            f"the vocabulary {path} has no token for {len(missing)} of the 256 bytes "
            f"(the first is {missing[0]:#04x}), so not every text could be written with it"
        )


def _encoding(ranks: Mapping[bytes, int], special: Mapping[str, int], name: str):
    try:
        import tiktoken
    except ImportError:
        raise ConfigError(
            "reading a vocabulary needs tiktoken, which is not installed: pip install 'chogori[k2]'"
        ) from None
    return tiktoken.Encoding(
        name, pat_str=SPLITS, mergeable_ranks=dict(ranks), special_tokens=dict(special)
    )


def _cut(text: str) -> Iterator[str]:
    """`text` in pieces that are encoded one by one."""
    for start in range(0, len(text), LONGEST_TEXT):
        piece = text[start : start + LONGEST_TEXT]
        if len(piece) <= LONGEST_RUN:
            yield piece
            continue
        cut = 0
        for run in _RUN.finditer(piece):
            for at in range(run.start() + LONGEST_RUN, run.end(), LONGEST_RUN):
                yield piece[cut:at]
                cut = at
        yield piece[cut:]
