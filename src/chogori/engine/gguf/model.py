"""`GgufModel`: a GGUF file as a `ChatModel`.

The file is loaded at the first request. The state that the model is in after reading the system
prompt and the tools is kept on disk, so that the next process does not read them again; within a
process llama.cpp keeps what it has read, so a step reads what it adds.

Code that does not parse, or that has just failed word for word, is drawn again, at most twice, from
the place where its block began; a third draft goes to the tool as it is, whose error tells the
model. After code that failed the next reply is a call, too: asked freely, a small model explains
the error and calls that its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from chogori.chat import (
    Conversation,
    Delta,
    ImagePart,
    Options,
    Profile,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    VideoPart,
)
from chogori.chat.schema.json_text import dumps
from chogori.engine.gguf.code import RETRIES, Check, failed_lately, mended
from chogori.engine.gguf.draft import Draft
from chogori.engine.gguf.ending import Guard
from chogori.engine.gguf.grammar import (
    ANSWER,
    FENCES,
    Form,
    code_form,
    code_grammar,
    form_for,
    is_judged,
    permitted,
)
from chogori.engine.gguf.llama import SLOTS, Llama
from chogori.engine.gguf.prompt import Turn, turns
from chogori.engine.gguf.reader import Block, Reader
from chogori.engine.stopping import StopText
from chogori.errors import RequestError

ENCODER = "gguf/4"
"""How a request is put together here; the number rises when that changes."""
REDRAWS = 2
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
        form = self._form(conversation, tools, options)
        llama = await self._load()
        told = turns(conversation, tools)
        await self._warm(llama, told)
        failed = failed_lately(conversation)
        if options.seed is None:  # drawn here, so that it can be told
            options = replace(options, seed=secrets.randbelow(2**31))
        request = self._request(told, options, form)
        known = {"weights": self.weights, "seed": options.seed}
        draft = Draft(extra={"load_seconds": llama.load_seconds, **known})
        reader = Reader(has_tools=_has_shell(tools, options, form), is_judged=form.is_judged)
        stop = StopText(options.stop if tools else ())
        pieces = draft.guarded(
            llama.complete(request),
            _guard(llama, form, tools, options),
            request["max_tokens"],
            llama.context_tokens,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                for delta in _until(stop, reader.feed(piece)):
                    yield delta
                if stop.has_stopped:
                    break
        for delta in _until(stop, reader.end()):
            yield delta
        if reader.ran_on and not form.answers_json and not stop.has_stopped:
            # a long answer that did not say it was one
            async for piece in draft.pieces(llama.complete(_answering(request))):
                for delta in _until(stop, [TextDelta(piece.text.removeprefix(ANSWER))]):
                    yield delta
        if rest := stop.end():
            yield TextDelta(rest)
        block = reader.block
        if block and block.language in FENCES.values():
            block = Block(block.language, mended(block))
            may_run = Check(block.language, frozenset(failed))
            block = await self._redraw(llama, block, reader.before_block, request, draft, may_run)
        if block is not None:
            call = _call(block, permitted(tools, options), conversation)
            yield ToolCallDelta(0, call.id, call.name, call.arguments)
        ended = "stop" if stop.has_stopped or (draft.was_ended and form.answers_json) else None
        yield draft.finished("tool_calls" if block else ended)

    def check(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> None:
        """As `ChecksRequests` has it."""
        self._form(conversation, tools, options)

    @property
    def slots(self) -> int:
        """As `HasSlots` has it."""
        return SLOTS

    @property
    def active(self) -> int:
        """As `HasSlots` has it."""
        return 0 if self._llama is None else self._llama.active

    def _form(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> Form:
        """The form of the next reply. Raises `RequestError`."""
        for number, message in enumerate(conversation):
            seen = [part for part in message.content if isinstance(part, ImagePart | VideoPart)]
            if seen and message.role != "tool":
                raise RequestError(
                    f"{self.profile.name} reads text alone, and message {number} has a picture or "
                    "a film; ask a model that sees images",
                    param=f"messages.{number}.content",
                )
        failed = failed_lately(conversation)
        may_retry = 0 < len(failed) <= RETRIES and not is_judged(tools)
        if may_retry and options.tool_choice == "auto" and tools:
            options = replace(options, tool_choice="required")
        return form_for(tools, options, after_output=_has_output(conversation))

    @property
    def weights(self) -> str:
        """Which weights answer: the file's name, and how long it is."""
        return f"{self.path.name} ({self.path.stat().st_size} bytes)"

    def fingerprint(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> str:
        """Of what llama.cpp would be asked (`agent.request.Fingerprinted`)."""
        form = form_for(tools, options, after_output=_has_output(conversation))
        request = self._request(turns(conversation, tools), options, form)
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

    def _request(self, told: list[Turn], options: Options, form: Form) -> dict[str, Any]:
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
            "stop": list(options.stop) if options.stop and form.text is None else None,
            "grammar": form.text,
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
        draft: Draft,
        may_run: Check,
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
                reader.feed(piece.text.removeprefix(before))
            block = reader.block or block
        return block


def _call(block: Block, tools: Sequence[ToolSpec], conversation: Conversation) -> ToolCall:
    number = sum(conversation.encoded("calls", lambda message: len(message.tool_calls)))
    for spec in tools:
        form = code_form(spec)
        if form and form.fence == block.language:
            arguments = orjson.dumps({form.parameter: block.body}).decode()
            return ToolCall(f"functions.{spec.name}:{number}", spec.name, arguments)
    written = json.loads(block.body)
    name, arguments = written["name"], dumps(written["arguments"])
    return ToolCall(f"functions.{name}:{number}", name, arguments)


def _has_output(conversation: Conversation) -> bool:
    """Whether what came last is the output of a call."""
    return bool(conversation) and conversation[-1].role == "tool"


def _answering(request: dict[str, Any]) -> dict[str, Any]:
    """`request`, its reply begun with `Answer:`, and free from there on."""
    begun = [*request["messages"], {"role": "assistant", "content": ANSWER}]
    freed = {name: value for name, value in request.items() if name != "grammar"}
    return {**freed, "messages": begun}


def _has_shell(tools: Sequence[ToolSpec], options: Options, form: Form) -> bool:
    """Whether the reply says first what it is: reasoning and a call, or an answer."""
    if not tools or options.prefill:
        return False
    return not form.answers_json or bool(permitted(tools, options))


def _guard(llama: Llama, form: Form, tools: Sequence[ToolSpec], options: Options) -> Guard | None:
    """What ends a reply that is held to a form. Beside tools that run code, and where nobody set a
    limit, a call that does not come to an end is no call (docs/decisions/0003)."""
    runs_code = any(code_form(spec) is not None for spec in tools)
    if form.grammar is None or (runs_code and not options.max_tokens and not form.answers_json):
        return None

    async def count(text: str) -> int:
        return await asyncio.to_thread(llama.count_text, text)

    return Guard(form.grammar, count, has_code=runs_code)


def _until(stop: StopText, deltas: Sequence[ReasoningDelta | TextDelta]) -> Iterator[Delta]:
    """The deltas, their text as far as no stop string has begun."""
    for delta in deltas:
        if isinstance(delta, ReasoningDelta):
            yield delta
        elif text := stop.feed(delta.text):
            yield TextDelta(text)
