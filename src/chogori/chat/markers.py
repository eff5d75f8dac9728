"""The markers of the Kimi family: the special tokens by which a prompt and a reply are laid out.

The whole family shares one vocabulary file; 256 further ids follow its last one, and each model
gives names to some of them (`tokenizer_config.json` of Kimi-K2.5; the names of the other models
are the same, or fewer). An id without a name is called `<|reserved_token_ID|>`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marker:
    """A special token where a template puts it. Text that reads the same is not a marker."""

    text: str


RESERVED = 256
"""How many ids follow the vocabulary file."""

END_OF_TEXT = Marker("[EOS]")
END = Marker("<|im_end|>")
USER = Marker("<|im_user|>")
ASSISTANT = Marker("<|im_assistant|>")
SYSTEM = Marker("<|im_system|>")
MIDDLE = Marker("<|im_middle|>")
MEDIA_BEGIN = Marker("<|media_begin|>")
MEDIA_CONTENT = Marker("<|media_content|>")
MEDIA_PAD = Marker("<|media_pad|>")
MEDIA_END = Marker("<|media_end|>")
SECTION_BEGIN = Marker("<|tool_calls_section_begin|>")
SECTION_END = Marker("<|tool_calls_section_end|>")
CALL_BEGIN = Marker("<|tool_call_begin|>")
ARGUMENTS_BEGIN = Marker("<|tool_call_argument_begin|>")
CALL_END = Marker("<|tool_call_end|>")
THINK_BEGIN = Marker("<think>")
THINK_END = Marker("</think>")
MEDIA_START = Marker("<|media_start|>")
"""What the templates of K2 and K2 Thinking call MEDIA_BEGIN; its id is the same."""

_NAMES = {
    0: "[BOS]",
    1: END_OF_TEXT.text,
    2: END.text,
    3: USER.text,
    4: ASSISTANT.text,
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "[EOT]",
    10: SYSTEM.text,
    11: SECTION_BEGIN.text,
    12: SECTION_END.text,
    13: CALL_BEGIN.text,
    14: ARGUMENTS_BEGIN.text,
    15: CALL_END.text,
    17: MIDDLE.text,
    18: MEDIA_BEGIN.text,
    19: MEDIA_CONTENT.text,
    20: MEDIA_END.text,
    21: MEDIA_PAD.text,
    22: THINK_BEGIN.text,
    23: THINK_END.text,
    254: "[UNK]",
    255: "[PAD]",
}

REPLY_MARKERS = (
    *(THINK_BEGIN, THINK_END),
    *(SECTION_BEGIN, SECTION_END, CALL_BEGIN, ARGUMENTS_BEGIN, CALL_END),
)
"""Those that a reply is made of; published as `"special": false`, since parsers must see them."""


def special_ids(first: int) -> dict[str, int]:
    """The id of every special token by name, where `first` is the first id after the file's."""
    return {
        _NAMES.get(offset, f"<|reserved_token_{first + offset}|>"): first + offset
        for offset in range(RESERVED)
    }
