"""What `prompt` and `tokens` print, to compare with other implementations."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import BinaryIO

from chogori.apps.chat_request import read_request
from chogori.chat.templates import template_named
from chogori.chat.tokenizer import Tokenizer
from chogori.errors import ConfigError


def print_prompt(template: str, request: Path) -> None:
    """Print the prompt of the request in a file, or piped in for `-`, and nothing else."""
    form = template_named(template)
    try:
        held = sys.stdin.buffer.read() if str(request) == "-" else request.read_bytes()
    except OSError as error:
        raise ConfigError(f"the request {request} cannot be read: {error.strerror}") from None
    text = read_request(_decoded(held, "the request"), form).text(form)
    # No text layer: it would write line ends and lone surrogates in its own way.
    _write(text.encode(errors="replace"))


def print_tokens(tokenizer: Path, *, special: bool, jsonl: bool) -> None:
    """Print the ids of what is piped in: one text, or a JSON string in each line."""
    made = Tokenizer.from_file(tokenizer)
    if not jsonl:
        _print_ids(made, _decoded(sys.stdin.buffer.read(), "what is piped in"), special)
        return
    lines: BinaryIO = sys.stdin.buffer
    for number, line in enumerate(lines, 1):
        try:
            text = json.loads(_decoded(line, f"line {number}"))
        except (ValueError, RecursionError):
            text = None
        if not isinstance(text, str):
            shown = line.decode(errors="replace").strip()
            shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
            raise ConfigError(f"line {number}: expected a JSON string, found {shown or 'nothing'}")
        _print_ids(made, text, special)


def _print_ids(tokenizer: Tokenizer, text: str, special: bool) -> None:
    _write(json.dumps(tokenizer.encode(text, special=special)).encode() + b"\n")


def _decoded(held: bytes, what: str) -> str:
    try:
        return held.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{what} is not UTF-8: byte {held[error.start]:#04x} at offset {error.start}"
        ) from None


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
