"""What makes trouble for templates, tokenizers and readers of the Kimi family."""

from __future__ import annotations

from hypothesis import strategies as st

from chogori.chat.markers import REPLY_MARKERS, special_ids
from chogori.chat.tokenizer import NANO, Tokenizer
from strategies import TROUBLE

NANO_TOKENIZER = Tokenizer.from_file(NANO)

# Names of special tokens, whole and in parts, and what stands round them.
MARKUP = [
    *(name for name in special_ids(0) if not name.startswith("<|reserved")),
    *(marker.text[:cut] for marker in REPLY_MARKERS for cut in (1, -1, 9)),
    *("<|tool_call_section_begin|>", "<|tool_call_section_end|>", "</thinking>", "<think"),
    *("_begin|>", "(no content)", "functions.f:0", " ", "\n\n", "{}", "<|reserved_token_3845|>"),
]
kimi_texts = st.lists(
    st.sampled_from(MARKUP) | st.sampled_from(TROUBLE) | st.text(max_size=5), max_size=8
).map("".join)
