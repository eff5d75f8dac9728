"""A run as a document. The golden text is read by people: change it with care."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from chogori.apps.markdown import as_markdown
from chogori.chat import (
    Answer,
    AttemptStarted,
    Claim,
    Compacted,
    Conversation,
    Event,
    Landing,
    LegStarted,
    Reminded,
    ReplyFinished,
    RunStarted,
    Steered,
    StepStarted,
    TextPart,
    ToolCall,
    ToolFinished,
    ToolStarted,
    Usage,
    Waiting,
    assistant,
    content_of,
)

CALL = ToolCall("c1", "python", '{"code": "print(4)"}')
DOUBT = Claim("4", "unsupported")
RUN: list[Event] = [
    RunStarted("r", (TextPart("How many?\nReally."),), "scripted"),
    StepStarted(1),
    ReplyFinished(assistant("I look.", reasoning="Let me see.", calls=[CALL]), Usage(), 1, 1, 1),
    Waiting("approval", "r", (CALL,), Conversation()),
    LegStarted(approve={"c1": True}),
    ToolStarted(CALL, "once"),
    ToolFinished(CALL, content_of("```\n4"), False, 0.5, "pure"),
    Reminded("repetition", "Again?"),
    Steered("Hurry."),
    Compacted("summary", 3, 900, 100),
    AttemptStarted(2, "in another way"),
    Landing("steps"),
    Answer("4", "r", "budget", Conversation(), (DOUBT,), Usage(1_000, 20), 1, 2.5),
    LegStarted((TextPart("And?"),)),
]
GOLDEN = """\
# Run r

Model: scripted

## Task

> How many?
> Really.

## Step 1

> Let me see.

I look.

_Waiting: approval._

Call of `python` (once):

```
{"code": "print(4)"}
```

`python` brought, 0.50 s:

````
```
4
````

A guard said:

> Again?

A person said:

> Hurry.

_3 messages are no longer shown to the model (summary)._

## Solution 2, to check: in another way

_Stopping here: steps._

## Answer

4

- unsupported: 4

_1 steps, 1,000 tokens in, 20 out, 2.5 s._

## The person goes on

> And?
"""


def test_the_golden_document() -> None:
    assert as_markdown("r", RUN) == GOLDEN


@given(st.text(st.sampled_from("`~ab\n \x1b")))
def test_whatever_a_tool_says_stays_in_its_fence(text: str) -> None:
    written = as_markdown("r", [ToolFinished(CALL, content_of(text), False, 0.5, "pure")])
    assert "\x1b" not in written
    lines = written.splitlines()
    fence = lines[4]
    assert re.fullmatch("`{3,}", fence)
    assert [number for number, line in enumerate(lines) if line.strip() == fence] == [
        4,
        len(lines) - 1,
    ]
