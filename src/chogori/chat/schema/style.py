"""Where spaces may stand in the JSON that is written."""

from __future__ import annotations

from dataclasses import dataclass

from chogori.chat.schema.texts import Text, literal, rep, seq

_SPACE = rep(literal(" "), 0, 1)


@dataclass(frozen=True, slots=True)
class Style:
    """The six signs of JSON, as they may be written."""

    opens: Text
    closes: Text
    opens_list: Text
    closes_list: Text
    comma: Text
    colon: Text


COMPACT = Style(*(literal(sign) for sign in "{}[],:"))
"""No spaces at all."""
SPACED = Style(
    opens=seq(literal("{"), _SPACE),
    closes=seq(_SPACE, literal("}")),
    opens_list=seq(literal("["), _SPACE),
    closes_list=seq(_SPACE, literal("]")),
    comma=seq(_SPACE, literal(","), _SPACE),
    colon=seq(_SPACE, literal(":"), _SPACE),
)
"""One space at most. Free to break lines, a small model may write nothing else to its limit."""
