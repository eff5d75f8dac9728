"""An endpoint that does all that a probe asks for, and its faults, each of which spoils one thing.

Its model thinks in rules: it calls the tool that is spoken of, tells a weight by the id of the call
that weighed it, and recalls whatever the endpoint let it read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from api.endpoint import DONE, Answer, chunk, event, refusal

JSON = {"Content-Type": "application/json"}
THOUGHT = "Let me think about that."
FITTING = {"code": "ABC-12", "colour": "teal", "count": 41}
SPOKEN = {"code": "abc", "colour": "red", "count": 3}


@dataclass
class Probed:
    """Makes the answer to each body, for `serving(respond=...)`."""

    shows: str | None = "reasoning_content"
    """The name under which it shows reasoning, and reads it."""
    reads: bool = True
    reads_old: bool = False
    """Whether reasoning from before the last answer is read."""
    insists: bool = False
    """Whether a call without reasoning is refused."""
    remembers: bool = False
    """Whether what it read once is known in every later request."""
    switches: bool = True
    ids: Literal["counted", "anew", "same"] = "counted"
    pairs: Literal["id", "place", "wrong"] = "id"
    knows_foreign_ids: bool = True
    takes_tools: bool = True
    obeys_choice: bool = True
    obeys_schema: bool = True
    streams: bool = True
    counts: bool = True
    caches: bool = True
    memory: str = ""
    seen: list[Any] = field(default_factory=list[Any])

    def __call__(self, body: dict[str, Any]) -> Answer:
        messages = body["messages"]
        if refused := self._refusal(body):
            return refusal(400, {"error": {"message": refused}})
        cached = 100 if self.caches and messages in self.seen else 0
        self.seen.append(messages)
        text, name = self._think(body)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        kwargs = body.get("chat_template_kwargs", {})
        if self.shows and not (self.switches and kwargs.get("thinking") is False):
            message[self.shows] = THOUGHT
        if name:
            function = {"name": name, "arguments": '{"box": "red"}'}
            message["tool_calls"] = [
                {"index": 0, "id": self._id(name, messages), "function": function}
            ]
        usage = {
            "prompt_tokens": 200,
            "completion_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return self._told(message, usage if self.counts else None)

    def _refusal(self, body: dict[str, Any]) -> str:
        if "tools" in body and not self.takes_tools:
            return "this model takes no tools"
        for place, message in enumerate(body["messages"]):
            calls = message.get("tool_calls", [])
            if calls and self.insists and self.shows not in message:
                return f"reasoning_content is missing in message {place}"
            if not self.knows_foreign_ids and any(call["id"][0] == "x" for call in calls):
                return f"no call of that id in message {place}"
        return ""

    def _think(self, body: dict[str, Any]) -> tuple[str, str]:
        """A text, or the name of a tool."""
        messages, names = body["messages"], [_name(tool) for tool in body.get("tools", [])]
        choice = body.get("tool_choice", "auto") if self.obeys_choice else "auto"
        asked = str(messages[-1]["content"])
        if "response_format" in body:
            return json.dumps(FITTING if self.obeys_schema else SPOKEN), ""
        if isinstance(choice, dict) or choice == "required":
            return "", _name(choice) if isinstance(choice, dict) else names[0]
        if "code word" in asked:
            return f"I recall: {self._recalled(messages)}", ""
        if messages[-1]["role"] == "tool":
            return self._weight(messages), ""
        if choice == "auto" and (spoken := [name for name in names if name in asked.lower()]):
            return "", spoken[0]
        return " ".join(map(str, [391, *range(1, 31)])), ""

    def _recalled(self, messages: list[dict[str, Any]]) -> str:
        answers = [
            place
            for place, message in enumerate(messages)
            if message["role"] == "assistant" and not message.get("tool_calls")
        ]
        old = -1 if self.reads_old or not answers else answers[-1]
        read = [
            str(message.get(str(name), ""))
            for place, message in enumerate(messages)
            if message["role"] == "assistant"
            for name in ("content", self.shows)
            if name == "content" or (self.reads and place > old)
        ]
        known = self.memory + " ".join(read)
        self.memory = known if self.remembers else ""
        return known

    def _weight(self, messages: list[dict[str, Any]]) -> str:
        colour = re.findall(r"of the (\w+) box alone", messages[0]["content"])[0]
        calls = next(each["tool_calls"] for each in messages if "tool_calls" in each)
        results = [each for each in messages if each["role"] == "tool"]
        place = next(n for n, each in enumerate(calls) if colour in each["function"]["arguments"])
        if self.pairs == "id":
            return next(r["content"] for r in results if r["tool_call_id"] == calls[place]["id"])
        if self.pairs == "place":
            return results[place]["content"]
        return next(r["content"] for r in results if r["tool_call_id"] != calls[place]["id"])

    def _id(self, name: str, messages: list[dict[str, Any]]) -> str:
        before = sum(len(message.get("tool_calls", ())) for message in messages)
        match self.ids:
            case "counted":
                return f"functions.{name}:{before}"
            case "anew":
                return f"functions.{name}:0"
            case "same":
                return "call"

    def _told(self, message: dict[str, Any], usage: dict[str, Any] | None) -> Answer:
        reason = "tool_calls" if "tool_calls" in message else "stop"
        counted = {"usage": usage} if usage else {}
        if not self.streams:
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return Answer([json.dumps({"choices": [choice]} | counted).encode()], headers=JSON)
        deltas = [
            {name: word}
            for name in (self.shows, "content")
            if name in message
            for word in re.findall(r"\S+\s*", message[name])
        ]
        if "tool_calls" in message:
            deltas.append({"tool_calls": message["tool_calls"]})
        chunks = [*map(chunk, deltas), chunk({}, finish_reason=reason)]
        if usage:
            chunks.append({"choices": [], "usage": usage})
        return Answer([*map(event, chunks), DONE])


def _name(tool: dict[str, Any]) -> str:
    return tool["function"]["name"]
