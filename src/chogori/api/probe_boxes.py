"""The history in which a probe tries call ids: boxes that were weighed, under ids of nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Literal, Self

from chogori.api.probe_asking import Asker
from chogori.chat import Conversation, ToolCall, ToolSpec, tool_result, user

_BOX = {"type": "object", "properties": {"box": {"type": "string"}}, "required": ["box"]}
WEIGH = ToolSpec("weigh", "Weighs a box. Returns kilograms.", _BOX)
PAINT = ToolSpec("paint", "Paints a box green.", _BOX)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Calls that weighed three boxes, and the weights of two, which nobody guesses."""

    asker: Asker
    red: ToolCall
    blue: ToolCall
    green: ToolCall
    red_weight: str
    blue_weight: str

    @classmethod
    def made_up(cls, asker: Asker, random: Random) -> Self:
        """Boxes of random weights, weighed under random ids."""
        red, blue, green = (
            ToolCall(f"x{random.getrandbits(48):012x}", WEIGH.name, f'{{"box": "{colour}"}}')
            for colour in ("red", "blue", "green")
        )
        red_weight, blue_weight = map(str, random.sample(range(100, 1000), 2))
        return cls(asker, red, blue, green, red_weight, blue_weight)

    def weighed(self, *, swapped: bool) -> Conversation:
        """Both were weighed; `swapped`: the results come in the other order than the calls."""
        results = [
            tool_result(self.red, self.red_weight),
            tool_result(self.blue, self.blue_weight),
        ]
        return Conversation(
            [
                user(
                    "Weigh the red box and the blue box. Then tell me the weight of the red box "
                    "alone, as a bare number."
                ),
                self.asker.reply(reasoning="Both have to be weighed.", calls=[self.red, self.blue]),
                *(reversed(results) if swapped else results),
            ]
        )

    def weighed_more(self, both: Conversation) -> Conversation:
        """`both`, and then a third was weighed."""
        return both.append(
            self.asker.reply(reasoning="One more, to compare.", calls=[self.green]),
            tool_result(self.green, "12"),
        )

    def told_in(self, text: str) -> Literal["red", "blue"] | None:
        """The box whose weight, and not the other's, is in `text`."""
        numbers = re.findall(r"\d+", text)
        red, blue = self.red_weight in numbers, self.blue_weight in numbers
        return None if red == blue else "red" if red else "blue"
