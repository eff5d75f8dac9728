"""Keys as they are kept: what each may do, and a digest that tells the key and gives none away.

All are functions of a transaction. A key is only ever known whole to `create` and `rotate`, which
return it once; the database, the audit log and everything else know its public id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from typing import Any, cast, get_args

import orjson

from chogori.api.platform import Scope
from chogori.errors import ConfigError
from chogori.service import audit, key_text, limits
from chogori.service.key_text import KeyText
from chogori.service.limits import Subject
from chogori.service.peppers import Peppers
from chogori.store import Transaction

DEFAULT = "default"
"""The organisation and the project of keys for which none is named."""
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
DEFAULT_SCOPES = SCOPES - {"admin"}
GRACE_SECONDS = 86_400.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a key may do, and whose it is. Raises `ConfigError` where that makes no sense."""

    organisation: str = DEFAULT
    project: str = DEFAULT
    name: str = ""
    """What people call it."""
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    models: tuple[str, ...] | None = None
    """None: all."""
    networks: tuple[str, ...] = ()
    """From where it may be used, as CIDRs; none: from everywhere."""
    expires: float | None = None
    """Seconds since the epoch."""
    shows_reasoning: bool = True

    def __post_init__(self) -> None:
        for what, name in (("organisation", self.organisation), ("project", self.project)):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{name!r} cannot be the name of {what}: expected 1 to 64 letters, digits, "
                    "'.', '_' or '-'"
                )
        if unknown := self.scopes - SCOPES:
            raise ConfigError(
                f"there is no scope {', '.join(sorted(unknown))}; there are: "
                f"{', '.join(sorted(SCOPES))}"
            )
        if not self.scopes:
            raise ConfigError("a key without a scope may do nothing: name one at least")
        for network in self.networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ConfigError(
                    f"{network!r} is no network ({error}); expected a CIDR such as 10.0.0.0/8"
                ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept."""

    id: str
    grant: Grant
    created: float
    revoked: float | None = None
    successor: str | None = None
    """The key that it was rotated into."""
    digest: bytes = field(repr=False)
    pepper: int = field(repr=False)

    def state(self, now: float) -> str:
        """In a word: active, revoked or expired."""
        if self.revoked is not None:
            return "revoked"
        is_over = self.grant.expires is not None and self.grant.expires <= now
        return "expired" if is_over else "active"


def create(tx: Transaction, peppers: Peppers, grant: Grant, actor: str) -> KeyText:
    """A new key; its organisation and project are made if need be."""
    made = key_text.make()
    told = {field.name: _told(getattr(grant, field.name)) for field in fields(grant)}
    version = audit.note(tx, actor, "create key", f"key:{made.id}", told)
    _insert(tx, peppers, made, grant, version)
    return made


def rotate(
    tx: Transaction, peppers: Peppers, id: str, actor: str, grace_seconds: float = GRACE_SECONDS
) -> KeyText:
    """A successor that may do the same, with the same limits. The old key stays good for the
    grace, not beyond its own end. Raises `ConfigError`, also for a key that is good no more."""
    old = find(tx, id)
    if (state := old.state(tx.now)) != "active" or old.successor:
        why = f"{state}" if state != "active" else f"rotated into {old.successor} already"
        raise ConfigError(f"the key {old.id} is {why}; make another: chogori keys create")
    made = key_text.make()
    told = {"successor": made.id, "grace_seconds": grace_seconds}
    version = audit.note(tx, actor, "rotate key", f"key:{old.id}", told)
    _insert(tx, peppers, made, old.grant, version)
    given = limits.read(tx).get(str(Subject("key", old.id)))
    if given is not None:
        limits.write(tx, Subject("key", made.id), given)
    end = min(tx.now + grace_seconds, old.grant.expires or float("inf"))
    tx.execute(
        "update keys set successor = ?, expires = ?, changed = ? where id = ?",
        (made.id, end, version, old.id),
    )
    return made


def revoke(tx: Transaction, id: str, actor: str) -> str:
    """End a key for good; returns its id. Once more does no harm. Raises `ConfigError`."""
    key = find(tx, id)
    if key.revoked is None:
        version = audit.note(tx, actor, "revoke key", f"key:{key.id}", {})
        tx.execute(
            "update keys set revoked = ?, changed = ? where id = ?", (tx.now, version, key.id)
        )
    return key.id


def find(tx: Transaction, wanted: str) -> Key:
    """The key of that public id, or the one whose id begins so. Raises `ConfigError`."""
    wanted = key_text.parse(wanted) or wanted.removeprefix(key_text.PREFIX).removesuffix("-…")
    found = [key for key in every(tx) if key.id.startswith(wanted)] if wanted else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{len(found)} keys begin with {wanted}; write more of the id")
    raise ConfigError(f"there is no key {wanted}; see: chogori keys list")


def every(tx: Transaction, after: int = -1) -> list[Key]:
    """The keys, oldest first; of a version of the service, those that were changed after it."""
    rows = tx.execute(
        f"select {_COLUMNS} from keys where changed > ? order by created, id", (after,)
    )
    return [_key(row) for row in rows]


def ensure(tx: Transaction, organisation: str, project: str) -> None:
    """Have an organisation and its project be there."""
    tx.execute(
        "insert into organisations (id, created, prepaid) values (?, ?, 0) "
        "on conflict (id) do nothing",
        (organisation, tx.now),
    )
    tx.execute(
        "insert into projects (organisation, id, created) values (?, ?, ?) "
        "on conflict (organisation, id) do nothing",
        (organisation, project, tx.now),
    )


_COLUMNS = (
    "id, organisation, project, name, scopes, models, networks, expires, shows_reasoning, "
    "created, revoked, successor, digest, pepper"
)


def _insert(tx: Transaction, peppers: Peppers, made: KeyText, grant: Grant, version: int) -> None:
    ensure(tx, grant.organisation, grant.project)
    pepper = peppers.newest
    tx.execute(
        f"insert into keys ({_COLUMNS}, changed) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null, null, ?, ?, ?)",
        (
            made.id,
            grant.organisation,
            grant.project,
            grant.name,
            " ".join(sorted(grant.scopes)),
            None if grant.models is None else orjson.dumps(grant.models).decode(),
            " ".join(grant.networks) or None,
            grant.expires,
            int(grant.shows_reasoning),
            tx.now,
            peppers.digest(made.text, pepper),
            pepper,
            version,
        ),
    )


def _key(row: tuple[Any, ...]) -> Key:
    (id, organisation, project, name, scopes, models, networks, expires, shows, *rest) = row
    grant = Grant(
        organisation=organisation,
        project=project,
        name=name,
        scopes=frozenset(scopes.split()),
        models=None if models is None else tuple(orjson.loads(models)),
        networks=tuple((networks or "").split()),
        expires=expires,
        shows_reasoning=bool(shows),
    )
    created, revoked, successor, digest, pepper = rest
    return Key(
        id=id,
        grant=grant,
        created=created,
        revoked=revoked,
        successor=successor,
        digest=digest,
        pepper=pepper,
    )


def _told(value: object) -> audit.Change:
    if isinstance(value, (frozenset, tuple)):
        return sorted(map(str, cast(Iterable[object], value)))
    assert value is None or isinstance(value, (str, float, bool)), "so are the fields of a grant"
    return value
