"""What was used, in buckets of time and in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chogori.api.platform import UsageQuery, UsageRow
from chogori.chat import Usage
from chogori.store import Transaction
from chogori.store.store import Value

_MINUTE, _STRETCH = 60, 600
_COLUMNS = {"project_id": "project", "api_key_id": "key", "model": "model"}


def rows(tx: Transaction, organisation: str, query: UsageQuery) -> list[UsageRow]:
    """A row for each bucket and group in which there was any, oldest first.

    Buckets begin at multiples of their length since the epoch. The first holds `start`, and there
    are `limit` of them at most; nothing before `start` or from `end` on is counted."""
    size = query.bucket_seconds
    first = query.start - query.start % size
    end = first + query.limit * size
    if query.end is not None:
        end = min(end, query.end)
    columns = [_COLUMNS[name] for name in query.group_by]
    grouped = ", ".join(["cast((at - ?) / ? as integer)", *columns])
    where, values = _where(query)
    found = tx.execute(
        f"select {grouped}, sum(prompt), sum(completion), sum(reasoning), sum(cached), count(*), "
        "sum(coalesce(microdollars, 0)) from usage "
        f"where organisation = ? and at >= ? and at < ?{where} "
        f"group by {', '.join(str(number) for number in range(1, 2 + len(columns)))} "
        f"order by {', '.join(str(number) for number in range(1, 2 + len(columns)))}",
        (first, size, organisation, query.start, end, *values),
    )
    rows: list[UsageRow] = []
    for bucket, *rest in found:
        named = dict(zip(columns, rest, strict=False))
        prompt, completion, reasoning, cached, requests, microdollars = rest[len(columns) :]
        rows.append(
            UsageRow(
                start=first + bucket * size,
                end=first + (bucket + 1) * size,
                usage=Usage(prompt, completion, reasoning, cached),
                requests=requests,
                microdollars=microdollars,
                project=named.get("project"),
                key_id=named.get("key"),
                model=named.get("model"),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Recent:
    """What a key took, so many seconds ago."""

    key_id: str
    seconds_ago: float
    requests: int
    tokens: int


def recent(tx: Transaction, organisation: str, seconds: float) -> list[Recent]:
    """What an organisation's keys took in the last `seconds`, oldest first: request by request of
    the last minute, before that in stretches of ten minutes, each as if taken at its end."""
    found = tx.execute(
        "with taken as (select key, prompt + completion as tokens, case when at > ? then at "
        "else (cast(at / ? as integer) + 1) * ? end as at, case when at > ? then id end as one "
        "from usage where organisation = ? and at > ?) "
        "select key, min(at), count(*), sum(tokens) from taken group by key, at, one order by 2",
        (tx.now - _MINUTE, _STRETCH, _STRETCH, tx.now - _MINUTE, organisation, tx.now - seconds),
    )
    return [Recent(key, max(0.0, tx.now - at), count, tokens) for key, at, count, tokens in found]


def _where(query: UsageQuery) -> tuple[str, list[Value]]:
    said, values = "", list[Value]()
    for column, wanted in (
        ("project", query.projects),
        ("key", query.keys),
        ("model", query.models),
    ):
        if wanted:
            said += f" and {column} in ({_marks(wanted)})"
            values += wanted
    return said, values


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
