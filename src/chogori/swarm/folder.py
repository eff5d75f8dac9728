"""The shared folder of a swarm: subagents append to it, and each entry says who wrote it and when.

It is a log of the store beside the journals, so nothing that was shared is lost, and appending an
entry twice is appending it once. Whoever reads sees what was there by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from chogori.agent.bodies import dump, load
from chogori.chat import Tool, ToolContext, ToolError, tool
from chogori.store import Record, Store, Transaction, blobs, logs

KIND = "shared"
PAGE_CHARS = 20_000
TEXT_CHARS = 100_000
"""Of one entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of a file of the folder."""

    file: str
    text: str
    by: str
    """The subagent."""
    run_id: str
    at: float
    key: str

    @property
    def heading(self) -> str:
        """Where it came from."""
        when = time.strftime("%H:%M:%S", time.gmtime(self.at))
        return f"[{self.by}, run {self.run_id}, {when} UTC]"


class Folder:
    """See the module's docstring."""

    def __init__(
        self, store: Store | None, run_id: str, now: Callable[[], float] = time.time
    ) -> None:
        """That of the swarm whose orchestrator's run has this id; without a store it lives as long
        as this does."""
        self.log = f"{run_id}-shared"
        self._run_id = run_id
        self._store = store
        self._now = now
        self._entries: list[Entry] = []
        self._keys: set[str] = set()
        self._seen = -1

    def tools(self, by: str) -> list[Tool]:
        """`share` and `read_shared`, for the subagent of that name."""

        @tool(effect="idempotent")
        async def share(
            file: Annotated[str, "The file of the shared folder to append to, such as: prices."],
            text: Annotated[str, "What the others should know, with its source."],
            context: ToolContext,
        ) -> str:
            """Append to a file that all agents of this team read. What is there already stays."""
            if not file.strip() or len(text) > TEXT_CHARS:
                raise ToolError(f"name a file, and share at most {TEXT_CHARS:,} characters")
            await self.append(
                Entry(file.strip(), text, by, context.run_id, self._now(), context.key)
            )
            return f"appended to {file.strip()}"

        @tool(effect="pure")
        async def read_shared(
            file: Annotated[str | None, "Which one; without it: what files there are."] = None,
        ) -> str:
            """Read what the agents of this team have shared so far."""
            return await self.read(file)

        return [share, read_shared]

    async def append(self, entry: Entry) -> None:
        """Add `entry`, unless one with its key is there."""
        if self._store is None:
            if entry.key not in self._keys:
                self._keys.add(entry.key)
                self._entries.append(entry)
            return
        await self._refresh()
        if entry.key in self._keys:
            return
        told = {"file": entry.file, "text": entry.text, "by": entry.by}
        body = {"type": "shared", "at": entry.at, "run": entry.run_id, "key": entry.key}
        record = Record(dump(body), (dump(told),))

        def work(tx: Transaction) -> None:
            if logs.find(tx, self.log) is None:
                logs.create(tx, self.log, KIND, self._run_id)
            logs.append(tx, self.log, [record])

        await self._store.write(work)

    async def entries(self) -> list[Entry]:
        """All that is there, in order."""
        await self._refresh()
        return list(self._entries)

    async def read(self, file: str | None) -> str:
        """A file, or the list of files. Raises `ToolError` where there is no such file."""
        entries = await self.entries()
        files = dict.fromkeys(entry.file for entry in entries)
        if file is None:
            told = [f"{name}: {_many(sum(e.file == name for e in entries))}" for name in files]
            return "\n".join(told) or "nothing has been shared yet"
        if file not in files:
            raise ToolError(f"there is no {file!r}; there are: {', '.join(files) or 'none'}")
        told = [f"{entry.heading}\n{entry.text}" for entry in entries if entry.file == file]
        text = "\n\n".join(told)
        cut = len(text) - PAGE_CHARS
        return text if cut <= 0 else f"[{cut:,} older characters left out]\n{text[-PAGE_CHARS:]}"

    async def _refresh(self) -> None:
        """Take note of what has been added, here or elsewhere."""
        if self._store is None:
            return
        after = self._seen

        def work(tx: Transaction) -> list[tuple[logs.Entry, bytes | None]]:
            found = logs.entries(tx, self.log, after)
            return [(it, blobs.content_of(tx, self.log, it.blobs[0])) for it in found]

        for record, content in await self._store.read(work):
            if record.sequence <= self._seen:  # another has looked meanwhile
                continue
            self._seen = record.sequence
            body: dict[str, Any] = load(record.body)
            self._keys.add(body["key"])
            if content is not None:
                told = load(content)
                entry = Entry(**told, run_id=body["run"], at=body["at"], key=body["key"])
                self._entries.append(entry)


def _many(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}"
