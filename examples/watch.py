"""Watch a run, event by event, and go on with it: python examples/watch.py [MODEL]"""

import asyncio
import sys
from collections.abc import AsyncIterator

import chogori
from chogori.chat import Answer, Event, ReasoningDelta, TextDelta, ToolFinished, ToolStarted


@chogori.tool(effect="pure")
def add(first: int, second: int) -> str:
    """Add two numbers."""
    return str(first + second)


async def show(events: AsyncIterator[Event]) -> Answer:
    """Print events as they come; return the answer, which is the last of them."""
    async for event in events:
        match event:
            case ReasoningDelta(text) | TextDelta(text):
                print(text, end="", flush=True)
            case ToolStarted(call):
                print(f"\n> {call.name} {call.arguments}")
            case ToolFinished():
                print(f"< {event.output}")
            case Answer():
                print()
                return event
            case _:
                pass
    raise AssertionError("no call here needs a person, so the leg ends with an answer")


async def main() -> None:
    model = chogori.load(sys.argv[1] if len(sys.argv) > 1 else "local")
    agent = chogori.Agent(model, tools=[add])
    answer = await show(agent.stream("What is 8611 + 237?"))
    answer = await show(agent.continue_(answer, "And 1 more?"))
    print(f"{len(answer.conversation)} messages")
    await model.aclose()


asyncio.run(main())
