"""What a checkpoint folder says of its model beside the network: name, template, vocabulary.

The template is told by the files: the chat template that lies beside a published checkpoint, its
`model_type`, or a `chogori` entry of config.json, which comes first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chogori.chat import Profile
from chogori.chat.templates import Template, template_named
from chogori.chat.tokenizer import NANO as NANO_VOCABULARY
from chogori.errors import ConfigError
from chogori.model.checkpoint import read_published
from chogori.model.config import read_config

NANO = Path(__file__).parent / "nano"
VOCABULARY = "tiktoken.model"
_TEMPERATURES = {"k2-instruct": 0.6, "k2-thinking": 1.0, "k2.5": 1.0}
"""Of the model cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model in a folder. Nothing but small files is read for it."""

    folder: Path
    vocabulary: Path
    template: Template
    vocabulary_size: int
    profile: Profile
    notice: str = ""
    """What whoever loads it should know."""


def describe(folder: Path, spec: str) -> Description:
    """The model in `folder`. Raises `CheckpointError`."""
    published = read_published(folder)
    config = read_config(published)
    own: Mapping[str, Any] = published.get("chogori", {})
    template = template_named(own.get("template") or _template(folder, published))
    vocabulary = folder / VOCABULARY
    if folder == NANO:
        vocabulary = NANO_VOCABULARY
    return Description(
        folder=folder,
        vocabulary=vocabulary,
        template=template,
        vocabulary_size=config.vocab_size,
        profile=Profile(
            name=own.get("name", folder.name),
            spec=spec,
            context_tokens=config.context_tokens,
            temperature=_TEMPERATURES[template.name],
            top_p=0.95 if template.name == "k2.5" else None,
            instant_temperature=0.6 if template.opens_thinking else None,
            thinking=_thinking(template),
        ),
        notice=own.get("notice", ""),
    )


def find_folder(spec: str) -> Path:
    """The folder of `k2:nano` or `k2:PATH`. Raises `ConfigError`."""
    named = spec.removeprefix("k2:")
    folder = NANO if named == "nano" else Path(named).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"{spec}: there is no folder {folder}; expected k2:nano, or k2:PATH with the folder of "
            "a checkpoint"
        )
    return folder


def _template(folder: Path, published: Mapping[str, Any]) -> str:
    if published.get("model_type") == "kimi_k25":
        return "k2.5"
    return "k2-thinking" if "<think>" in _chat_template(folder) else "k2-instruct"


def _chat_template(folder: Path) -> str:
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    try:
        about = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(about.get("chat_template", ""))


def _thinking(template: Template) -> Any:
    if not template.thinks:
        return "off"
    return "switchable" if template.opens_thinking else "forced"
