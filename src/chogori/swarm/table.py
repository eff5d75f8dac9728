"""The results of many tasks that are alike, as a table: a row for each item, in their order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chogori.swarm.steps import Outcome

ITEM, MESSAGE = "item", "result"
ITEM_CHARS = 200
_ASKED = (
    "\n\nAnswer with one JSON object and nothing else, with exactly these keys: {columns}. "
    "Where something cannot be found, use null."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wide:
    """One task for many items."""

    agent: str
    template: str
    """The task, with {item} where the item goes."""
    items: Sequence[str]
    columns: tuple[str, ...] = ()
    after: Mapping[int, Sequence[int]] = field(default_factory=dict[int, Sequence[int]])
    """The items, by number from 0, whose results an item builds on."""
    lengths: Sequence[float] = ()
    """How long each may take, in any unit, where that is known: the longest chains begin first."""

    def told(self) -> dict[str, Any]:
        """As the arguments of a call."""
        after = {str(item): list(before) for item, before in self.after.items()}
        told = {"agent": self.agent, "template": self.template, "items": list(self.items)}
        more = {"columns": list(self.columns), "after": after, "lengths": list(self.lengths)}
        return told | {name: value for name, value in more.items() if value}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Wide:
        """What `told` made, or a model wrote."""
        return cls(
            agent=told["agent"],
            template=told["template"],
            items=told["items"],
            columns=tuple(told.get("columns", ())),
            after={int(item): before for item, before in told.get("after", {}).items()},
            lengths=told.get("lengths", ()),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one item."""

    item: str
    values: Mapping[str, Any]
    """By column; where the message held no such thing, None."""
    message: str
    """The whole last message."""
    run_id: str
    ended: str
    """"answer", or how else (`Outcome.ended`)."""


@dataclass(slots=True)
class Table:
    """See the module's docstring."""

    columns: tuple[str, ...] = ()
    """What each row holds beside its item; none: the message."""
    rows: list[Row] = field(default_factory=list[Row])

    def prompt(self, template: str, item: str) -> str:
        """The task of a row."""
        task = template.replace("{item}", item) if "{item}" in template else f"{template}\n\n{item}"
        names = ", ".join(json.dumps(name, ensure_ascii=False) for name in self.columns)
        return task + (_ASKED.format(columns=names) if self.columns else "")

    def builds_on(self, results: Sequence[tuple[str, str]]) -> str:
        """What is added to a prompt whose task comes after others."""
        told = "\n\n".join(f"{item}:\n{text}" for item, text in results)
        return f"\n\nThis builds on:\n\n{told}" if told else ""

    def add(self, item: str, message: str, outcome: Outcome) -> None:
        """A row."""
        found: Mapping[str, Any] = _object_in(message) if self.columns else {MESSAGE: message}
        values = {name: found.get(name) for name in self.columns or (MESSAGE,)}
        self.rows.append(Row(item, values, message, outcome.run_id, outcome.ended))

    def markdown(self) -> str:
        """To be read: by a model, or a person."""
        names = (ITEM, *(self.columns or (MESSAGE,)))
        lines = [names, tuple("---" for _ in names)]
        for row in self.rows:
            told = [_cell(row.item, ITEM_CHARS), *(_cell(row.values[name]) for name in names[1:])]
            if row.ended != "answer":
                told[-1] += f" [incomplete: {row.ended}]"
            lines.append(tuple(told))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def csv(self) -> str:
        """To be computed with."""
        names = [*(self.columns or (MESSAGE,))]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([ITEM, *names])
        writer.writerows([[row.item, *(row.values[name] for name in names)] for row in self.rows])
        return out.getvalue()

    def told(self) -> dict[str, Any]:
        """As JSON."""
        rows = [
            {"item": it.item, "values": it.values, "message": it.message, "run_id": it.run_id,
             "ended": it.ended} for it in self.rows
        ]  # fmt: skip
        return {"columns": list(self.columns), "rows": rows}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Table:
        """What `told` made."""
        return cls(tuple(told["columns"]), [Row(**row) for row in told["rows"]])


def _object_in(message: str) -> Mapping[str, Any]:
    """The last JSON object of a message, which may stand among words or in a fence."""
    decoder, found, at = json.JSONDecoder(), dict[str, Any](), message.find("{")
    while at != -1:
        try:
            value, end = decoder.raw_decode(message, at)
        except ValueError:
            end = at + 1
        else:
            if isinstance(value, dict):
                found = cast(dict[str, Any], value)
        at = message.find("{", end)
    return found


def _cell(value: object, most: int | None = None) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    told = " ".join(text.split()).replace("|", "\\|")
    return told if most is None or len(told) <= most else f"{told[: most - 1]}…"
