"""What comes over a wire: the words of `strategies` among the markers of chat templates."""

from __future__ import annotations

from hypothesis import strategies as st

from strategies import TROUBLE, arguments, cut, folded, json_values, texts

__all__ = ["MARKERS", "arguments", "cut", "folded", "json_values", "marked_texts", "texts"]

MARKERS = [
    "<think>",
    "</think>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
    "functions.add:0",
    '{"a": 1}',
    "<|tool_c",
    " ",
]

marked_texts = st.lists(
    st.sampled_from(MARKERS) | st.sampled_from(TROUBLE) | st.text(max_size=3), max_size=12
).map("".join)
