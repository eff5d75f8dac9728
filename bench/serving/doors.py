"""Keys and limits at their edges: wrong keys, the last request of a minute, the last token."""

from __future__ import annotations

import asyncio
import base64
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from chogori.service import Limits

from . import processes
from .asking import Seen, chance, client, many
from .books import Books
from .processes import MODEL, Serving
from .rows import Row, at_most, exactly
from .upstream_checks import model_of

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TOKENS = 60
"""What each of those who race may write at most."""


def wrong_keys(data: Path, number: int) -> Iterator[Row]:
    """Guesses leave no trace, neither in the database nor in the time that they take."""
    key = processes.set_up(data)
    with processes.upstream() as upstream:
        with processes.chogori([model_of(MODEL, upstream)], data, key=key) as server:
            asyncio.run(_ask_once(server))
            before = Books(data).rows()
            times, statuses = asyncio.run(_guess(server, number))
            after = Books(data).rows()
            kept = _where(key, data)
        kept += [f"{place} (after the end)" for place in _where(key, data)]
    slowest, noise = _spread(times)
    yield exactly(f"{number:,} wrong keys: rows written", {}, _grown(before, after))
    yield exactly("the same: let in", 0, sum(status not in (401, 429) for status in statuses))
    title = "the same: kinds differ by, noise taken off"
    yield at_most(title, 20, max(0.0, slowest - noise), "µs", 1)
    yield exactly("files of the data folder that hold the key", [], kept)


async def _ask_once(server: Serving) -> None:
    async with client(server) as asker:
        assert (await asker.ask()).is_good, "the right key is good"


def _guesses(key: str) -> dict[str, str]:
    """One guess of each kind."""
    front, secret, check = key.rpartition("-")[0].rpartition("-")[0], *key.split("-")[-2:]
    other = "".join(chance(len(key)).choices(ALPHABET, k=len(secret)))
    return {
        "another secret": f"{front}-{other}-{check}",
        "nobody's id": f"sk-chg-{'x' * 12}-{secret}-{check}",
        "a wrong checksum": key[:-1] + ("a" if key[-1] != "a" else "b"),
        "another form": "sk-" + "y" * 48,
    }


async def _guess(server: Serving, number: int) -> tuple[Mapping[str, list[float]], list[int]]:
    """Seconds by kind, the kinds taking turns; and every status."""
    kinds = list(_guesses(server.key).items())
    times: dict[str, list[float]] = defaultdict(list)
    statuses: list[int] = []
    async with client(server) as asker:
        for index in range(number):
            kind, guess = kinds[index % len(kinds)]
            began = time.perf_counter()
            seen = await asker.ask(key=guess)
            times[kind].append(time.perf_counter() - began)
            statuses.append(seen.status)
    return times, statuses


def _spread(times: Mapping[str, list[float]]) -> tuple[float, float]:
    """Microseconds between the medians of the kinds; and between the halves of one kind."""
    medians = [1e6 * statistics.median(one) for one in times.values()]
    halves = [
        abs(statistics.median(one[::2]) - statistics.median(one[1::2])) * 1e6
        for one in times.values()
    ]
    return max(medians) - min(medians), max(halves)


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: after[name] - rows for name, rows in before.items() if after[name] != rows}


def _where(key: str, data: Path) -> list[str]:
    """The files that hold the key or its secret, as it is or encoded."""
    secret = key.split("-")[-2].encode()
    forms = {secret, key.encode(), base64.b64encode(key.encode())[:40], secret.hex().encode()}
    files = [path for path in data.parent.rglob("*") if path.is_file()]
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


def minute(data: Path, *, waits: bool) -> Iterator[Row]:
    """100 in any 60 seconds, and the refusal says when the next may come."""
    key = processes.set_up(data, Limits(requests_per_minute=100))
    with (
        processes.upstream() as upstream,
        processes.chogori([model_of(MODEL, upstream)], data, key=key) as server,
    ):
        first, last, again = asyncio.run(_minute(server, waits))
    yield exactly("100 requests a minute: let in", 100, sum(seen.is_good for seen in first))
    yield exactly("the 101st", 429, last.status)
    yield exactly("its Retry-After is when the first is 60 s old", "right", again[0])
    if waits:
        yield exactly("just before that, and then", [429, 200], again[1:])


async def _minute(server: Serving, waits: bool) -> tuple[list[Seen], Seen, list[object]]:
    async with client(server) as asker:
        first = [await asker.ask()]
        began = time.monotonic()
        await asyncio.sleep(1.5)
        first += await many(99, 16, lambda _: asker.ask())
        last = await asker.ask()
        left = 60 - (time.monotonic() - began)
        told = int(last.headers.get("retry-after", 0))
        exact = int(last.headers.get("retry-after-ms", 0)) / 1000
        right = "right" if left < told < left + 1.5 and abs(exact - left) < 0.5 else (told, left)
        again: list[object] = [right]
        if waits:
            await asyncio.sleep(left - 2)
            again.append((await asker.ask()).status)
            await asyncio.sleep(3)
            again.append((await asker.ask()).status)
        return first, last, again


def racing(data: Path, clients: int) -> Iterator[Row]:
    """Far more clients at once than a budget has room for: exactly what fits is let in."""
    with processes.upstream() as upstream:
        model = model_of(MODEL, upstream, "paced")
        one = _demand(data / "one", model)
        fits = clients // 3
        limits = Limits(tokens_per_day=fits * one)
        yield _race(data / "tokens", model, limits, 10**12, clients, fits, "tokens")
        limits = Limits(concurrent_requests=fits)
        yield _race(data / "slots", model, limits, 10**12, clients, fits, "slots")


def _demand(data: Path, model: str) -> int:
    """The tokens that a request takes of its limits before it is settled."""
    key = processes.set_up(data, Limits(tokens_per_day=10**6))
    with processes.chogori([model], data, key=key) as server:

        async def ask() -> Seen:
            async with client(server) as asker:
                return await asker.ask(max_tokens=TOKENS, stream=True)

        seen = asyncio.run(ask())
    return 10**6 - int(seen.headers["x-ratelimit-remaining-tokens"])


def _race(
    data: Path, model: str, limits: Limits, money: int, clients: int, fits: int, what: str
) -> Row:
    key = processes.set_up(data, limits, microdollars=money)
    with processes.chogori([model], data, key=key) as server:

        async def race() -> list[Seen]:
            async with client(server) as asker:
                return await many(
                    clients, clients, lambda _: asker.ask(max_tokens=TOKENS, stream=True)
                )

        seen = asyncio.run(race())
    statuses = sorted(one.status for one in seen)
    wanted = [200] * fits + [429] * (clients - fits)
    told = fits if statuses == wanted else str(statuses)
    return exactly(f"{clients} clients race for the last {what}: let in", fits, told)
