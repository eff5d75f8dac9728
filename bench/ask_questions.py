"""Fresh questions of the twelve kinds of `bench/data/ask`, with the files they are about.

`make_suite(seed, folder)` writes a workspace and returns twelve questions, one of each kind. The
answers are computed here from the values that were drawn, not by the code that a model would write.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = [
    *("Ada", "Bo", "Cem", "Dai", "Eve", "Fay", "Gus", "Hana", "Ivo", "Jun"),
    *("Kim", "Lea", "Mia", "Noa", "Oto", "Pia", "Quin", "Rui", "Sam", "Tea"),
]
THINGS = [
    *("reading room", "bicycle shed", "rain garden", "solar roof", "heat pump", "greenhouse"),
    *("playground", "tea kitchen", "workshop", "music stage", "bird tower", "skate park"),
]
PLACES = [
    *("the harbour office", "the town hall", "the old mill", "the north gate", "the boat house"),
    *("the railway station", "the cellar of the school", "the market square"),
    *("the fire station", "the east meadow"),
]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, what its answer must contain, and the kind that it belongs to."""

    kind: str
    text: str
    answer: str
    files: tuple[str, ...] = ()


def accepts(question: Question, reply: str | None) -> bool:
    """Whether `reply` holds the expected answer as a value of its own (not inside a longer one)."""
    if reply is None:
        return False
    wanted, found = _plain(question.answer), _plain(reply)
    return bool(re.search(rf"(?<![\w.]){re.escape(wanted)}(?!\w|\.\d)", found))


def make_suite(seed: int, folder: Path) -> list[Question]:
    """Write the files of `seed` into `folder` and return its twelve questions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    simple = [kind(rng) for kind in (_days, _primes, _factorial, _letters, _product, _weekday)]
    return [
        *simple,
        *_sales(rng, folder),
        _log(rng, folder),
        *_staff(rng, folder),
        _notes(rng, folder),
    ]


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d)[,\s](?=\d{3})|\s+(?=\s)", "", str(text)).strip().lower()


def _day(rng: random.Random, first: int, last: int) -> dt.date:
    return dt.date(first, 1, 1) + dt.timedelta(days=rng.randrange((last - first) * 365))


def _days(rng: random.Random) -> Question:
    start, end = _day(rng, 1960, 2005), _day(rng, 2006, 2032)
    text = f"How many days are there from {start} to {end}?"
    return Question("days between", text, str((end - start).days))


def _primes(rng: random.Random) -> Question:
    count = rng.randint(30, 120)
    primes: list[int] = []
    number = 2
    while len(primes) < count:
        if all(number % prime for prime in primes):
            primes.append(number)
        number += 1
    text = f"What is the sum of the first {count} prime numbers?"
    return Question("primes", text, str(sum(primes)))


def _factorial(rng: random.Random) -> Question:
    number = rng.randint(100, 500)
    digits = str(math.factorial(number))
    text = f"What is the sum of the decimal digits of {number} factorial?"
    return Question("big numbers", text, str(sum(map(int, digits))))


def _letters(rng: random.Random) -> Question:
    alphabet = rng.sample("abeirstuwy", 6)
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(40, 80)))
    letter = rng.choice(alphabet)
    question = f"How many times does the letter '{letter}' occur in this text: {text}"
    return Question("letters", question, str(text.count(letter)))


def _product(rng: random.Random) -> Question:
    a, b = rng.randrange(10**11, 10**12), rng.randrange(10**11, 10**12)
    return Question("product", f"What is {a} multiplied by {b}?", str(a * b))


def _weekday(rng: random.Random) -> Question:
    day = _day(rng, 1950, 2040)
    text = f"On which day of the week does {day} fall? Answer with the English name."
    names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    return Question("weekday", text, names[day.weekday()])


def _sales(rng: random.Random, folder: Path) -> list[Question]:
    regions, products = (
        ["north", "south", "east", "west"],
        ["bolt", "gear", "nut", "pump", "spring", "valve"],
    )
    rows = ["order_id,date,region,product,quantity,unit_price"]
    quantity: Counter[str] = Counter()
    revenue: defaultdict[str, float] = defaultdict(float)
    for order in range(1, rng.randint(300, 500)):
        region, product = rng.choice(regions), rng.choice(products)
        count, cents = rng.randint(1, 40), rng.randint(200, 9900)
        rows.append(f"{order},{_day(rng, 2025, 2026)},{region},{product},{count},{cents / 100:.2f}")
        quantity[region] += count
        revenue[product] += count * cents
    (folder / "sales.csv").write_text("\n".join(rows) + "\n")
    region = rng.choice(regions)
    total = f"In sales.csv, what is the total quantity sold in the region '{region}'?"
    best = (
        "In sales.csv, which product has the highest revenue (quantity times unit_price summed)? "
        "Answer with the product's name."
    )
    files = ("sales.csv",)
    return [
        Question("csv sum", total, str(quantity[region]), files),
        Question("csv ranking", best, max(revenue, key=lambda name: revenue[name]), files),
    ]


def _log(rng: random.Random, folder: Path) -> Question:
    paths = ["/", "/health", "/login", "/api/items", "/static/app.js"]
    statuses = rng.choices([200, 301, 404, 500], [80, 5, 10, 5], k=rng.randint(400, 700))
    lines: list[str] = []
    for status in statuses:
        time = (
            f"{rng.randint(1, 28):02}/Oct/2025:{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00"
        )
        host = f"10.0.{rng.randint(0, 3)}.{rng.randint(1, 40)}"
        request, size = rng.choice(paths), rng.randint(200, 9000)
        lines.append(f'{host} - - [{time} +0000] "GET {request} HTTP/1.1" {status} {size}')
    (folder / "access.log").write_text("\n".join(lines) + "\n")
    status = rng.choice([301, 404, 500])
    text = f"How many requests in access.log were answered with status {status}?"
    return Question("log", text, str(statuses.count(status)), ("access.log",))


def _staff(rng: random.Random, folder: Path) -> list[Question]:
    teams = ["core", "data", "web", "sales"]
    staff: list[dict[str, Any]] = [
        {
            "name": name,
            "team": rng.choice(teams),
            "salary": rng.randint(40, 110) * 1000,
            "joined": str(_day(rng, 2008, 2025)),
        }
        for name in rng.sample(NAMES, 20)
    ]
    (folder / "staff.json").write_text(json.dumps(staff, indent=1) + "\n")
    team = rng.choice([person["team"] for person in staff])
    pay = [person["salary"] for person in staff if person["team"] == team]
    average = (
        f"In staff.json, what is the average salary of the team '{team}', "
        "rounded to the nearest whole number?"
    )
    files = ("staff.json",)
    return [
        Question("json average", average, str(math.floor(sum(pay) / len(pay) + 0.5)), files),
        Question(
            "json first",
            "In staff.json, who joined first? Answer with the name.",
            min(staff, key=lambda person: str(person["joined"]))["name"],
            files,
        ),
    ]


def _notes(rng: random.Random, folder: Path) -> Question:
    count = rng.randint(4, 8)
    things, places = rng.sample(THINGS, count), rng.sample(PLACES, count)
    for number, (thing, place) in enumerate(zip(things, places, strict=True), 1):
        present = ", ".join(rng.sample(NAMES, 4))
        month = rng.choice(["January", "March", "April", "May", "June", "September"])
        (folder / f"note_{number}.md").write_text(
            f"# Meeting {number}\n\nPresent: {present}.\n\n"
            f"We agreed that the {thing} will be built at {place}. "
            f"The budget is {rng.randint(20, 90)},000 euros.\nNext meeting in {month}.\n"
        )
    chosen = rng.randrange(count)
    text = (
        f"According to the notes (note_1.md to note_{count}.md), "
        f"where will the {things[chosen]} be built?"
    )
    files = tuple(f"note_{number}.md" for number in range(1, count + 1))
    return Question("notes", text, places[chosen], files)
