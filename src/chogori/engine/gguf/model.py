"""`GgufModel`: a GGUF file as a `ChatModel`.

The file is loaded at the first request. The state that the model is in after reading the system
prompt and the tools is kept on disk, so that the next process does not read them again; within a
process llama.cpp keeps what it has read, so a step reads what it adds.

Code that does not parse, or that has just failed word for word, is drawn again, at most twice, from
the place where its block began; a third draft goes to the tool as it is, whose error tells the
model. After a call that failed the next reply is a call, too: asked freely, a small model explains
the error and calls that its answer.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import re
import secrets
import warnings
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import orjson

from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    Options,
    Profile,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
)
from chogori.engine.gguf.grammar import (
    ANSWER,
    FENCES,
    code_form,
    code_grammar,
    grammar_for,
    permitted,
)
from chogori.engine.gguf.llama import Llama
from chogori.engine.gguf.prompt import Turn, turns
from chogori.engine.gguf.reader import Block, Reader

ENCODER = "gguf/1"
"""How a request is put together here; the number rises when that changes."""
REDRAWS = 2
RETRIES = 2
"""So many failures in a row are followed by another call; after one more the model may give up."""
MAX_TOKENS = 800
"""Where the caller sets no limit; small models that go on for longer are lost."""


class GgufModel:
    """A GGUF file that answers. Safe to share between runs; requests take turns."""

    def __init__(self, path: Path, profile: Profile, *, state_folder: Path | None = None) -> None:
        self.path = path
        self.profile = profile
        self._state_folder = state_folder
        self._llama: Llama | None = None
        self._loading = asyncio.Lock()

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        llama = await self._load()
        allowed = permitted(tools, options)
        told = turns(conversation, tools)
        await self._warm(llama, told)
        reader = Reader(has_tools=bool(tools) and options.response_format is None)
        failed = _failed_lately(conversation)
        if 0 < len(failed) <= RETRIES and options.tool_choice == "auto":
            options = replace(options, tool_choice="required")
        if options.seed is None:  # drawn here, so that it can be told
            options = replace(options, seed=secrets.randbelow(2**31))
        request = self._request(told, options, grammar_for(tools, options))
        known = {"weights": self.weights, "seed": options.seed}
        draft = _Draft(extra={"load_seconds": llama.load_seconds, **known})
        async for piece in draft.pieces(llama.complete(request)):
            for delta in reader.feed(piece):
                yield delta
        for delta in reader.end():
            yield delta
        if reader.ran_on:  # a long answer that did not say it was one
            async for piece in draft.pieces(llama.complete(_answering(request))):
                yield TextDelta(piece.removeprefix(ANSWER))
        block = reader.block
        if block and block.language in FENCES.values():
            block = Block(block.language, _mended(block))
            may_run = _Check(block.language, frozenset(failed))
            block = await self._redraw(llama, block, reader.before_block, request, draft, may_run)
        if block is not None:
            call = _call(block, allowed, conversation)
            yield ToolCallDelta(0, call.id, call.name, call.arguments)
        yield draft.finished("tool_calls" if block else None)

    @property
    def weights(self) -> str:
        """Which weights answer: the file's name, and how long it is."""
        return f"{self.path.name} ({self.path.stat().st_size} bytes)"

    def fingerprint(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> str:
        """Of what llama.cpp would be asked (`agent.request.Fingerprinted`)."""
        request = self._request(turns(conversation, tools), options, grammar_for(tools, options))
        text = orjson.dumps(request, option=orjson.OPT_SORT_KEYS, default=str)
        return f"{ENCODER}:{hashlib.sha256(text).hexdigest()}"

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        llama = await self._load()
        return await asyncio.to_thread(llama.count, turns(conversation, tools))

    async def aclose(self) -> None:
        if self._llama is not None:
            await asyncio.to_thread(self._llama.close)
            self._llama = None

    async def _load(self) -> Llama:
        async with self._loading:
            if self._llama is None:
                self._llama = await asyncio.to_thread(
                    lambda: Llama(
                        self.path,
                        context_tokens=self.profile.context_tokens,
                        state_folder=self._state_folder,
                    )
                )
            return self._llama

    async def _warm(self, llama: Llama, told: list[Turn]) -> None:
        """Take up the state behind the system prompt, or make and keep it, once a process."""
        if self._state_folder is None or not told or told[0]["role"] != "system":
            return
        folder, self._state_folder = self._state_folder, None
        key = f"{self.path.resolve()} {self.path.stat().st_mtime_ns} {told[0]['content']}"
        name = hashlib.sha256(key.encode()).hexdigest()[:32] + ".state"
        if (folder / name).exists() and await asyncio.to_thread(llama.restore_state, name):
            return
        async for _ in llama.complete({"messages": told[:1], "max_tokens": 1}):
            pass
        await asyncio.to_thread(llama.keep_state, name)

    def _request(self, told: list[Turn], options: Options, grammar: str | None) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [{**turn} for turn in told]
        if options.prefill:
            messages.append({"role": "assistant", "content": options.prefill})
        temperature = options.temperature
        if temperature is None:
            temperature = self.profile.temperature
        knobs: dict[str, Any] = {
            "temperature": 0.0 if temperature is None else temperature,
            "top_p": options.top_p if options.top_p is not None else self.profile.top_p,
            "top_k": options.top_k,
            "min_p": options.min_p,
            "presence_penalty": options.presence_penalty,
            "frequency_penalty": options.frequency_penalty,
            "seed": options.seed,
            "max_tokens": options.max_tokens or MAX_TOKENS,
            "stop": list(options.stop) or None,
            "grammar": grammar,
            "logprobs": True if options.logprobs is not None else None,
            "top_logprobs": options.logprobs or None,
        }
        given = {name: value for name, value in knobs.items() if value is not None}
        return {
            "messages": messages,
            "cache_prompt": True,
            "stream_options": {"include_usage": True},
            **given,
            **options.extra,
        }

    async def _redraw(
        self,
        llama: Llama,
        block: Block,
        before: str,
        request: dict[str, Any],
        draft: _Draft,
        may_run: _Check,
    ) -> Block:
        for attempt in range(REDRAWS):
            if may_run(block.body):
                break
            draft.extra["redraws"] = attempt + 1
            again = {
                **request,
                "messages": [*request["messages"], {"role": "assistant", "content": before}],
                "grammar": code_grammar(),
                "temperature": 0.7,
                "seed": attempt + 1,
            }
            reader = Reader(has_tools=True)
            reader.feed(before)
            async for piece in draft.pieces(llama.complete(again)):
                reader.feed(piece.removeprefix(before))
            block = reader.block or block
        return block


class _Draft:
    """Adds up what the chunks of a reply, and of its redraws, report."""

    def __init__(self, extra: dict[str, Any]) -> None:
        self.extra = extra
        self._usage = Usage()
        self._reason = "stop"
        self._logprobs: list[Any] = []

    async def pieces(self, chunks: AsyncIterator[Any]) -> AsyncIterator[str]:
        async for chunk in chunks:
            for choice in chunk.get("choices", ()):
                self._reason = choice.get("finish_reason") or self._reason
                if logprobs := choice.get("logprobs"):
                    self._logprobs += logprobs.get("content") or []
                if piece := choice.get("delta", {}).get("content"):
                    yield piece
            if usage := chunk.get("usage"):
                details: Any = usage.get("prompt_tokens_details") or {}
                cached: int = details.get("cached_tokens", 0)
                self._usage += Usage(
                    usage["prompt_tokens"], usage["completion_tokens"], cached=cached
                )
            if timings := chunk.get("timings"):
                self.extra["timings"] = timings

    def finished(self, reason: Any) -> Finished:
        if self._logprobs:
            self.extra["logprobs"] = self._logprobs
        why = reason or ("length" if self._reason == "length" else "stop")
        return Finished(why, self._usage, self.extra)


def _call(block: Block, tools: Sequence[ToolSpec], conversation: Conversation) -> ToolCall:
    number = sum(conversation.encoded("calls", lambda message: len(message.tool_calls)))
    for spec in tools:
        form = code_form(spec)
        if form and form.fence == block.language:
            arguments = orjson.dumps({form.parameter: block.body}).decode()
            return ToolCall(f"functions.{spec.name}:{number}", spec.name, arguments)
    written = orjson.loads(block.body)
    name = written["name"]
    arguments = orjson.dumps(written["arguments"]).decode()
    return ToolCall(f"functions.{name}:{number}", name, arguments)


def _answering(request: dict[str, Any]) -> dict[str, Any]:
    """`request`, its reply begun with `Answer:`, and free from there on."""
    begun = [*request["messages"], {"role": "assistant", "content": ANSWER}]
    freed = {name: value for name, value in request.items() if name != "grammar"}
    return {**freed, "messages": begun}


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether a piece of code is worth running."""

    language: str
    failed: frozenset[str]

    def __call__(self, code: str) -> bool:
        return code not in self.failed and (self.language != "python" or python_parses(code))


def _mended(block: Block) -> str:
    """The code, its numbers without leading zeros where that is all that keeps it from parsing:
    dates are copied as 2010, 02, 09, and drawn again they come out the same."""
    if block.language != "python" or python_parses(block.body):
        return block.body
    plain = re.sub(r"(?<![\w.'\"])0+(?=[1-9]\d*\b(?!\.))", "", block.body)
    return plain if python_parses(plain) else block.body


def _failed_lately(conversation: Conversation) -> list[str]:
    """The code of the calls that failed, one after another, up to now."""
    failed: list[str] = []
    for message in reversed(conversation[-2 * RETRIES - 2 :]):
        if message.role == "assistant" and message.tool_calls:
            failed.append(_first_value(message.tool_calls[-1].arguments))
        elif message.role != "tool" or not message.extra.get("failed"):
            break
    return failed


def _first_value(arguments: str) -> str:
    try:
        values: Any = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(values, dict):
        return ""
    return str(next(iter(cast(dict[str, Any], values).values()), ""))


def python_parses(code: str) -> bool:
    """Whether `code` is a Python program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
