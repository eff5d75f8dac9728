"""llama.cpp in this process, and the one file that knows its Python library.

The server inside the library runs the model on its own threads; a request blocks the thread that
makes it, so each has a thread of its own and its chunks are handed to the event loop. The server
also listens on loopback, behind a key made for this process alone: tokenising and keeping the
prompt's state on disk are offered only there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from chogori.errors import ContextTooLong, ModelFileError, ModelUnavailable

Chunk = Mapping[str, Any]
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy the environment names: what is asked here stays on this machine."""


SLOTS = 1
"""Requests that run at once. Two would share the cores and the context, and each its cache."""
BATCH = 512
"""Tokens of a prompt that are read before anybody can say stop; what llama.cpp computes at once."""


class Llama:
    """One loaded model. Requests queue; one runs at a time."""

    def __init__(self, path: Path, *, context_tokens: int, state_folder: Path | None) -> None:
        try:
            library: Any = import_module("xllamacpp")
        except ImportError as error:
            raise ModelUnavailable(
                "the embedded engine is not installed: pip install 'chogori[local]'"
            ) from error
        if not path.is_file():
            raise ModelFileError(f"there is no model file at {path}")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelFileError(f"{path} is not a GGUF file: it does not begin with 'GGUF'")
        self._key = secrets.token_hex(16)
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context_tokens
        params.n_parallel = SLOTS
        params.n_batch = BATCH
        params.cpuparams.n_threads = _cores()
        params.verbosity = -1
        params.api_keys = [self._key]
        if state_folder is not None:
            state_folder.mkdir(parents=True, exist_ok=True)
            params.slot_save_path = f"{state_folder}/"
        started = time.monotonic()
        try:
            self._server: Any = library.Server(params)
        except Exception as error:
            raise ModelFileError(f"llama.cpp cannot load {path}: {error}") from error
        self.load_seconds = time.monotonic() - started
        self.context_tokens = context_tokens
        self.active = 0
        """Requests that were given and have not ended, those that wait among them."""
        self._busy = threading.Lock()

    async def complete(self, request: dict[str, Any]) -> AsyncIterator[Chunk]:
        """The chunks of a streamed chat completion. Closing the iterator stops the model, also
        while it reads the prompt."""
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
        stopped = threading.Event()

        def put(item: Chunk | BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(chunks.put_nowait, item)

        def on_chunk(chunk: Any) -> bool:
            put(chunk)
            return stopped.is_set()

        def work() -> None:
            with self._busy:
                try:
                    if not stopped.is_set():
                        told = {"stream": True, "return_progress": True, "timings_per_token": True}
                        self._server.handle_chat_completions({**request, **told}, on_chunk)
                    put(None)
                except BaseException as error:
                    put(error)

        thread = threading.Thread(target=work, name="llama", daemon=True)
        self.active += 1
        thread.start()
        try:
            while (item := await chunks.get()) is not None:
                if isinstance(item, BaseException):
                    raise ModelUnavailable(f"llama.cpp failed: {item}") from item
                if "error" in item:
                    raise _error(item["error"])
                yield item
        finally:
            stopped.set()
            self.active -= 1

    def count(self, turns: list[Any]) -> int:
        """Tokens of the rendered prompt. Blocks for some milliseconds."""
        prompt = self._post("/apply-template", {"messages": turns})["prompt"]
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return len(self._post("/tokenize", body)["tokens"])

    def count_text(self, text: str) -> int:
        """Tokens of a text in the middle of a reply. Blocks for a millisecond."""
        body = {"content": text, "add_special": False, "parse_special": False}
        return len(self._post("/tokenize", body)["tokens"])

    def keep_state(self, name: str) -> bool:
        """Write what the model has read so far to the state folder. Blocks."""
        return self._slot("save", name)

    def restore_state(self, name: str) -> bool:
        """Take up a state that was kept; False if there is none that fits. Blocks."""
        return self._slot("restore", name)

    def _slot(self, action: str, name: str) -> bool:
        try:
            done = self._post(f"/slots/0?action={action}", {"filename": name})
        except OSError:
            return False
        return bool(done.get("n_saved") or done.get("n_restored"))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._server.listening_address + path,
            data=orjson.dumps(body),
            headers={"content-type": "application/json", "authorization": f"Bearer {self._key}"},
        )
        with _LOOPBACK.open(request, timeout=60) as response:
            return orjson.loads(response.read())

    def close(self) -> None:
        """Free the model; requests under way end first."""
        with self._busy:
            self._server = None


def _cores() -> int:
    """The cores that this process may use, as far as the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _error(error: Mapping[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return ContextTooLong(
            f"the conversation is {error.get('n_prompt_tokens')} tokens long and this model "
            f"reads {error.get('n_ctx')}; ask with less, or with a model that reads more"
        )
    return ModelUnavailable(f"llama.cpp refused the request: {error.get('message', error)}")
