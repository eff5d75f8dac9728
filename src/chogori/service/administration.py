"""What people decide: keys, limits, prices, top-ups. All is synced, and stands in the audit log."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chogori.api.platform import UsageQuery, UsageRow
from chogori.errors import ConfigError
from chogori.service import audit, key_text, keys, ledger, limits, prices, usage
from chogori.service.audit import Act
from chogori.service.key_text import KeyText
from chogori.service.keys import GRACE_SECONDS, Grant, Key
from chogori.service.ledger import Funds
from chogori.service.limits import Limits, Subject
from chogori.service.peppers import Peppers
from chogori.service.prices import Price
from chogori.store import Store, Transaction, Verdict


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation and what it has."""

    id: str
    is_prepaid: bool
    funds: Funds


@dataclass(frozen=True, slots=True)
class Audited:
    """What `Administration.audit` found."""

    acts: list[Act]
    verdict: Verdict | None
    """Of the log; None where it is empty."""
    problems: list[str]
    """Of the ledger."""


class Administration:
    """Changes the service from this or any other process; a server learns of it within a second.

    Methods raise `ConfigError` for what makes no sense and `StoreError`."""

    def __init__(self, store: Store, peppers: Peppers, actor: str) -> None:
        """`actor` is who is written down."""
        self._store = store
        self._peppers = peppers
        self._actor = actor

    async def create_key(self, grant: Grant, given: Limits = Limits()) -> KeyText:
        """A new key, to be shown once."""

        def work(tx: Transaction) -> KeyText:
            made = keys.create(tx, self._peppers, grant, self._actor)
            if given != Limits():
                self._set_limits(tx, Subject("key", made.id), given)
            return made

        return await self._store.write(work)

    async def first_key(self) -> KeyText | None:
        """A key that may do everything, where there is none yet."""

        def work(tx: Transaction) -> KeyText | None:
            if tx.execute("select 1 from keys limit 1"):
                return None
            grant = Grant(name="first", scopes=keys.SCOPES)
            return keys.create(tx, self._peppers, grant, self._actor)

        if await self._store.read(lambda tx: tx.execute("select 1 from keys limit 1")):
            return None
        return await self._store.write(work)

    async def list_keys(self) -> list[Key]:
        """Every key, oldest first."""
        return await self._store.read(keys.every)

    async def rotate_key(self, id: str, grace_seconds: float = GRACE_SECONDS) -> KeyText:
        """The successor of a key, to be shown once."""
        return await self._store.write(
            lambda tx: keys.rotate(tx, self._peppers, id, self._actor, grace_seconds)
        )

    async def revoke_key(self, id: str) -> str:
        """End a key, with the requests that it has under way; returns its id."""
        return await self._store.write(lambda tx: keys.revoke(tx, id, self._actor))

    async def set_limits(self, subject: Subject, given: Limits) -> Subject:
        """Give a key, a project or an organisation these limits and no others. A key may be named
        by the beginning of its id."""

        def work(tx: Transaction) -> Subject:
            named = _existing(tx, subject)
            self._set_limits(tx, named, given)
            return named

        return await self._store.write(work)

    async def limits(self) -> dict[str, Limits]:
        """The limits of every subject that has any."""
        return await self._store.read(limits.read)

    async def set_price(self, price: Price) -> None:
        """Have tokens of a model cost so much from some time on."""
        if min(price.input, price.cached, price.output) < 0:
            raise ConfigError("a price is below nothing; expected 0 or more dollars")

        def work(tx: Transaction) -> None:
            told = asdict(price)
            audit.note(tx, self._actor, "set price", f"model:{told.pop('model')}", told)
            prices.write(tx, price)

        await self._store.write(work)

    async def prices(self) -> list[Price]:
        """Every price, by model and time."""
        return await self._store.read(prices.read)

    async def top_up(
        self, organisation: str, microdollars: int, said: str = "", *, voucher: bool = False
    ) -> Funds:
        """Give an organisation money; from then on it pays before it asks. Below zero, some is
        taken back. Returns what it has."""

        def work(tx: Transaction) -> Funds:
            keys.ensure(tx, Grant(organisation=organisation).organisation, keys.DEFAULT)
            told: dict[str, audit.Change] = {"microdollars": microdollars, "said": said}
            told["voucher"] = voucher
            audit.note(tx, self._actor, "top up", f"organisation:{organisation}", told)
            ledger.top_up(tx, organisation, microdollars, said, voucher=voucher)
            tx.execute("update organisations set prepaid = 1 where id = ?", (organisation,))
            return ledger.funds(tx, [organisation])[organisation]

        return await self._store.write(work)

    async def organisations(self) -> list[Organisation]:
        """Every organisation with what it has; of one that is not prepaid what it owes, below 0."""

        def work(tx: Transaction) -> list[Organisation]:
            rows = tx.execute("select id, prepaid from organisations order by id")
            funds = ledger.funds(tx, [id for id, _ in rows])
            return [Organisation(id, bool(prepaid), funds[id]) for id, prepaid in rows]

        return await self._store.read(work)

    async def usage(self, organisation: str, query: UsageQuery) -> list[UsageRow]:
        """What an organisation used."""
        return await self._store.read(lambda tx: usage.rows(tx, organisation, query))

    async def audit(self) -> Audited:
        """Everything that was changed, and whether the log and the ledger are what they must be."""

        def work(tx: Transaction) -> Audited:
            return Audited(audit.acts(tx), audit.check(tx), ledger.balanced(tx))

        return await self._store.read(work)

    def _set_limits(self, tx: Transaction, subject: Subject, given: Limits) -> None:
        audit.note(tx, self._actor, "set limits", str(subject), asdict(given))
        limits.write(tx, subject, given)


def _existing(tx: Transaction, subject: Subject) -> Subject:
    if subject.kind == "key":
        return Subject("key", keys.find(tx, subject.id).id)
    organisation, _, project = subject.id.partition("/")
    table, values = (
        ("organisations where id = ?", [organisation])
        if subject.kind == "organisation"
        else ("projects where organisation = ? and id = ?", [organisation, project])
    )
    if not tx.execute(f"select 1 from {table}", values):
        raise ConfigError(
            f"there is no {subject.kind} {subject.id}; it begins with its first key: "
            "chogori keys create --organisation NAME --project NAME"
        )
    return subject


def redacted(key: Key) -> str:
    """A key as it may be shown again and again."""
    return key_text.redacted(key.id)
