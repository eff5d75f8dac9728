"""Short letters, each from a company that asks for an amount, and what is right about each.

Other companies and other amounts stand in them too: whom it is written to, what was paid before,
what the whole contract is worth. The answers are those that were drawn.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

FIRST = (
    *("Alder", "Birch", "Cobalt", "Delta", "Ember", "Falcon", "Granite", "Harbor", "Indigo"),
    *("Juniper", "Kestrel", "Lumen", "Meridian", "Nimbus", "Orchard", "Pioneer", "Quarry"),
    *("Ridgeway", "Sable", "Tundra", "Umber", "Violet", "Willow", "Yarrow", "Zephyr"),
)
SECOND = (
    *("Logistics", "Printing", "Software", "Catering", "Insurance", "Gardens", "Metals"),
    *("Textiles", "Energy", "Consulting", "Bakery", "Optics", "Plumbing", "Transport"),
)
FORMS = ("Ltd", "GmbH", "Inc", "LLC", "AG")
PEOPLE = ("A. Brandt", "C. Okafor", "D. Silva", "E. Novak", "H. Tanaka", "J. Moreau", "L. Rossi")
WORK = (
    *("the delivery of March", "the repair of your roof", "twelve hours of advice"),
    *("the new signs", "the cleaning of your offices", "the licence for this year"),
    *("the spring catalogue", "lunch for your guests", "the transport to Gdansk"),
)
LETTERS = (
    "{sender}\n{street}\n\nTo {other}\n\nDear Sir or Madam,\n\nthank you for your order. For "
    "{work} we kindly ask you to pay {amount} within two weeks. Your last payment of {paid} has "
    "arrived, for which we thank you.\n\nYours sincerely,\n{person}\n{sender}",
    "To the accounts of {other}\n\nDear colleagues,\n\nthe contract between us is worth {whole} in "
    "all. For {work}, which is done, {amount} is now due; please send it to the account that you "
    "know.\n\nWith kind regards\n{person}, {sender}, {street}",
    "{street}\n\nReminder\n\nDear {other},\n\nwe have not yet received your payment for {work}. "
    "Please transfer the outstanding {amount} by the end of the month. An earlier invoice over "
    "{paid} is settled.\n\n{person}\non behalf of {sender}",
    "{sender} | {street}\n\nInvoice for {other}\n\nItem: {work}\nTotal contract value: {whole}\n"
    "Amount payable now: {amount}\n\nWe thank you for your trust.\n{person}",
)


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter, who wrote it, and the amount it asks for."""

    text: str
    company: str
    cents: int

    def is_right(self, company: object, amount: object) -> bool:
        """Whether these are what the letter says."""
        said = _plain(str(company or ""))
        return _plain(self.company) in said and cents_in(str(amount or "")) == self.cents


def make_letters(seed: int, count: int = 40) -> list[Letter]:
    """Letters from `count` different companies."""
    chance = random.Random(seed)
    names = [f"{first} {second}" for first in FIRST for second in SECOND]
    chosen = chance.sample(names, 2 * count)
    return [
        _letter(chance, LETTERS[n % len(LETTERS)], chosen[n], chosen[count + n])
        for n in range(count)
    ]


def _letter(chance: random.Random, form: str, sender: str, other: str) -> Letter:
    cents = [chance.randrange(5_000, 900_000) for _ in range(3)]
    sender, other = (f"{name} {chance.choice(FORMS)}" for name in (sender, other))
    text = form.format(
        sender=sender,
        other=other,
        street=f"{chance.randrange(1, 200)} {chance.choice(FIRST)} Street",
        work=chance.choice(WORK),
        amount=_euros(cents[0]),
        paid=_euros(cents[1]),
        whole=_euros(cents[0] + cents[2]),
        person=chance.choice(PEOPLE),
    )
    return Letter(text, sender, cents[0])


def _euros(cents: int) -> str:
    return f"EUR {cents // 100:,}.{cents % 100:02}"


def cents_in(text: str) -> int | None:
    """The one amount that a text holds."""
    found = re.search(r"\d[\d,]*(\.\d{1,2})?", text)
    return None if found is None else round(float(found[0].replace(",", "")) * 100)


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()
