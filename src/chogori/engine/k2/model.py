"""`K2Model`: a K2 checkpoint in our own engine as a `ChatModel`.

The weights are found at the first request. The network runs in a thread of its own, one request at
a time, and its tokens are handed to the event loop; closing the stream stops it at the next token.
What a reply was made of is kept as token ids in its `extra`, so that it is never tokenised again,
with what its prompt added to those before it, the seed and the weights (`told`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    FinishReason,
    Options,
    TextDelta,
    ToolSpec,
    Usage,
)
from chogori.chat.markers import CALL_BEGIN, SECTION_END, THINK_END, Marker
from chogori.chat.prompts import Prompt, Prompts
from chogori.chat.token_ids import written_ids
from chogori.chat.tokenizer import Tokenizer
from chogori.engine.k2.description import Description
from chogori.engine.k2.generation import Engine
from chogori.engine.k2.sampler import Drawn, Sampling, checked
from chogori.engine.k2.told import prompt_told, weights_of
from chogori.engine.stopping import StopText
from chogori.errors import CheckpointError, ChogoriError, ModelUnavailable, RequestError
from chogori.model import K2, load
from chogori.quant import build_kernel, linears_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    engine: Engine
    prompts: Prompts
    seconds: float


class K2Model:
    """A checkpoint that answers. Safe to share between runs; requests take turns."""

    def __init__(
        self,
        description: Description,
        *,
        kernels: Path | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """`kernels`: where a compiled INT4 kernel is kept; None: do without one. `memory_bytes`:
        what the weights may take, experts beyond that being read from the files again."""
        self.profile = description.profile
        self._description = description
        self._kernels = kernels
        self._memory_bytes = memory_bytes
        self._loaded: _Loaded | None = None
        self._turn = asyncio.Lock()
        self._active = 0

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        sampling = self._sampling(options)
        tools = _shown(tools, options)
        async with self._counted(), self._turn:
            loaded = await self._load()
            prompt = loaded.prompts.prompt(
                conversation, tools, thinking=options.thinking is not False, prefill=options.prefill
            )
            reply = _Reply(loaded.prompts, prompt, tools, options)
            drawn = _in_thread(
                lambda: loaded.engine.generate(
                    prompt.ids,
                    sampling,
                    limit=options.max_tokens,
                    stop_ids=loaded.prompts.tokenizer.stop_ids,
                )
            )
            async for token in drawn:
                for delta in reply.take(token):
                    yield delta
                if reply.is_over:
                    break
            await drawn.aclose()
            for delta in reply.end():
                yield delta
            known = {"load_seconds": loaded.seconds, "weights": self.weights, "seed": sampling.seed}
            yield reply.finished(conversation, loaded.engine.reused, known)

    @property
    def weights(self) -> str:
        """Which weights answer."""
        return weights_of(self._description.folder)

    def check(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> None:
        """As `ChecksRequests` has it."""
        self._sampling(options)
        _shown(tools, options)

    @property
    def slots(self) -> int:
        """As `HasSlots` has it."""
        return 1

    @property
    def active(self) -> int:
        """As `HasSlots` has it."""
        return self._active

    @asynccontextmanager
    async def _counted(self) -> AsyncGenerator[None]:
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        loaded = await self._load()
        return len(loaded.prompts.prompt(conversation, tools).ids)

    async def aclose(self) -> None:
        async with self._turn:
            self._loaded = None

    async def _load(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(self._read)
        return self._loaded

    def _read(self) -> _Loaded:
        started = time.monotonic()
        described = self._description
        if described.notice:
            _log.warning("%s", described.notice)
        tokenizer = Tokenizer.from_file(described.vocabulary)
        network = self._network()
        if tokenizer.size != network.config.vocab_size:
            raise CheckpointError(
                f"{described.folder}: {described.vocabulary.name} has {tokenizer.size:,} ids, "
                f"special ones included, and config.json a vocab_size of "
                f"{network.config.vocab_size:,}; they are not of one model"
            )
        prompts = Prompts(tokenizer, described.template, retention=self.profile.retention)
        engine = Engine(network, context_tokens=self.profile.context_tokens)
        return _Loaded(engine, prompts, time.monotonic() - started)

    def _network(self) -> K2:
        kernel = None if self._kernels is None else build_kernel(self._kernels)
        return load(
            self._description.folder,
            memory_bytes=self._memory_bytes,
            linears=linears_of(kernel),
        )

    def _sampling(self, options: Options) -> Sampling:
        instant = options.thinking is False and self.profile.thinking == "switchable"
        usual = self.profile.instant_temperature if instant else self.profile.temperature
        temperature = options.temperature if options.temperature is not None else usual
        top_p = options.top_p if options.top_p is not None else self.profile.top_p
        sampling = Sampling(
            temperature=temperature or 0.0,
            top_p=1.0 if top_p is None else top_p,
            top_k=options.top_k or 0,
            min_p=options.min_p or 0.0,
            presence_penalty=options.presence_penalty or 0.0,
            frequency_penalty=options.frequency_penalty or 0.0,
            # Drawn here, so that it can be told.
            seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
            logprobs=options.logprobs,
        )
        if wrong := checked(sampling):
            raise RequestError("; ".join(wrong))
        return sampling


class _Reply:
    """Adds up the tokens of a reply and tells them as deltas."""

    def __init__(
        self, prompts: Prompts, prompt: Prompt, tools: Sequence[ToolSpec], options: Options
    ) -> None:
        self._prompts = prompts
        self._prompt = prompt
        self._reader = prompts.reader(prompt, tools)
        self._stop = StopText(options.stop)
        self._is_one_call = not options.parallel_tool_calls
        self._is_whole = False
        self._ids: list[int] = []
        self._logprobs: list[dict[str, Any]] = []

    @property
    def is_over(self) -> bool:
        """Whether a stop string has come, or a second call where there may be one."""
        return self._stop.has_stopped or self._is_whole

    def take(self, drawn: Drawn) -> Iterator[Delta]:
        if self._is_one_call and self._reader.has_calls and drawn.id == self._id(CALL_BEGIN):
            self._is_whole = True  # the reply ends as if the model had ended it
            self._ids.append(self._id(SECTION_END))
            yield from self._kept(self._reader.feed(self._ids[-1:]))
            return
        self._ids.append(drawn.id)
        if drawn.logprob is not None:
            self._logprobs.append(self._told(drawn))
        if drawn.id not in self._prompts.tokenizer.stop_ids:
            yield from self._kept(self._reader.feed([drawn.id]))

    def end(self) -> Iterator[Delta]:
        if self._stop.has_stopped:
            return
        yield from self._kept(self._reader.end(cut_short=self._reason() == "length"))
        if text := self._stop.end():
            yield TextDelta(text)

    def finished(
        self, conversation: Conversation, reused: int, known: Mapping[str, Any]
    ) -> Finished:
        extra = {**self._prompts.reply_extra(self._prompt, self._ids), **known}
        extra |= prompt_told(conversation, self._prompt.ids, written_ids(extra) or ())
        if self._logprobs:
            extra["logprobs"] = self._logprobs
        usage = Usage(len(self._prompt.ids), len(self._ids), self._reasoning(), reused)
        return Finished(self._reason(), usage, extra)

    def _reason(self) -> FinishReason:
        if self._reader.has_calls:
            return "tool_calls"
        ended = self.is_over or (
            bool(self._ids) and self._ids[-1] in self._prompts.tokenizer.stop_ids
        )
        return "stop" if ended else "length"

    def _reasoning(self) -> int:
        if not self._prompt.reasons:
            return 0
        end = self._id(THINK_END)
        return self._ids.index(end) + 1 if end in self._ids else len(self._ids)

    def _id(self, marker: Marker) -> int:
        return self._prompts.tokenizer.id_of(marker)

    def _kept(self, deltas: Sequence[Delta]) -> Iterator[Delta]:
        """The deltas, their text as far as no stop string has begun."""
        for delta in deltas:
            if self._stop.has_stopped:
                return
            if not isinstance(delta, TextDelta):
                yield delta
            elif text := self._stop.feed(delta.text):
                yield TextDelta(text)

    def _told(self, drawn: Drawn) -> dict[str, Any]:
        """A token's log-probabilities in the form of the OpenAI API."""

        def told(id: int, logprob: float) -> dict[str, Any]:
            raw = self._prompts.tokenizer.bytes_of(id)
            return {
                "token": raw.decode(errors="replace"),
                "bytes": list(raw),
                "id": id,
                "logprob": logprob,
            }

        likeliest = [told(*each) for each in drawn.alternatives]
        return {**told(drawn.id, drawn.logprob or 0.0), "top_logprobs": likeliest}


def _shown(tools: Sequence[ToolSpec], options: Options) -> Sequence[ToolSpec]:
    """The tools that the model is told of. Raises `RequestError` for what it cannot be held to."""
    if options.tool_choice == "none":
        return ()
    if options.tool_choice != "auto" or options.response_format is not None:
        raise RequestError(
            "this engine does not hold a reply to a form: tool_choice can be 'auto' or 'none', and "
            "response_format must be left out; a gguf: model or an endpoint can be held to both",
            param="tool_choice" if options.response_format is None else "response_format",
        )
    return tools


async def _in_thread(start: Callable[[], Iterator[Drawn]]) -> AsyncGenerator[Drawn]:
    """The tokens of an iterator that works in a thread. When this one is closed, so is that."""
    loop = asyncio.get_running_loop()
    tokens: asyncio.Queue[Drawn | Exception | None] = asyncio.Queue()
    stopped = threading.Event()

    def put(item: Drawn | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tokens.put_nowait, item)

    def work() -> None:
        try:
            for token in start():
                put(token)
                if stopped.is_set():
                    break
            put(None)
        except Exception as error:
            put(error)

    thread = threading.Thread(target=work, name="k2", daemon=True)
    thread.start()
    try:
        while (item := await tokens.get()) is not None:
            if isinstance(item, Exception):
                raise _told_as_ours(item)
            yield item
    finally:
        stopped.set()
        await asyncio.to_thread(thread.join)


def _told_as_ours(error: Exception) -> Exception:
    if isinstance(error, ChogoriError):
        return error
    unavailable = ModelUnavailable(f"the engine failed: {type(error).__name__}: {error}")
    unavailable.__cause__ = error
    return unavailable
