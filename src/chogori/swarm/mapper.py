"""The orchestrator of `Swarm.map`: a model that thinks nothing, and makes the one call it is given.

What it does follows from the conversation alone, so a map that was killed goes on like any run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from chogori.chat import (
    Conversation,
    Delta,
    Options,
    Profile,
    ToolCall,
    ToolSpec,
    assistant,
    deltas_of,
)
from chogori.swarm.tools import MAP

SPEC = "map"


class Mapper:
    """Calls `map_task` with the text of the task as its arguments, and answers with the table."""

    profile = Profile(name="map", spec=SPEC)

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        table = next((m.text for m in conversation if m.role == "tool"), None)
        # Once it is there, no reminder (of the budget, say) has it made again.
        if table is not None or options.tool_choice == "none":
            reply = assistant(table or "")
        else:
            task = next(m.text for m in conversation if m.role == "user")
            reply = assistant(calls=[ToolCall("map", MAP.name, task)])
        for delta in deltas_of(reply):
            yield delta

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return 0

    async def aclose(self) -> None:
        """Nothing is held."""
