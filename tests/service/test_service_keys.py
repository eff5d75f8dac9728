"""Laws of keys: how they are written, kept, told apart, rotated and revoked."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_harness import Clocks, files, world

from chogori.api.platform import Refused
from chogori.errors import ConfigError
from chogori.service import Grant, Limits, Subject, key_text, open_peppers
from chogori.service.peppers import FILE, Peppers, read
from chogori.store import open_store

DIGITS = string.ascii_letters + string.digits
ids = st.text(DIGITS, min_size=12, max_size=12)


@given(ids, st.binary(min_size=32, max_size=32))
def test_a_key_that_is_written_is_parsed_to_its_id(id: str, secret: bytes) -> None:
    key = key_text.write(id, secret)
    assert key.text.startswith(f"sk-chg-{id}-")
    assert key_text.parse(key.text) == id
    assert len(key.text) == 70
    assert secret.hex() not in key.text
    assert key.text not in repr(key)


@given(ids, st.binary(min_size=32, max_size=32), st.integers(0, 69), st.sampled_from(DIGITS + "-_"))
def test_a_key_with_one_letter_changed_is_none(
    id: str, secret: bytes, at: int, letter: str
) -> None:
    text = key_text.write(id, secret).text
    changed = text[:at] + letter + text[at + 1 :]
    assert (key_text.parse(changed) is None) == (changed != text)


@given(st.text())
def test_what_is_no_key_is_parsed_to_none(text: str) -> None:
    assert key_text.parse(text) is None
    assert key_text.parse(f"sk-chg-{text}") is None


def test_no_two_keys_are_alike() -> None:
    assert len({key_text.make().text for _ in range(1_000)}) == 1_000


async def test_the_text_of_a_key_is_in_no_file(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        key = await here.key()
        rotated = await here.administration.rotate_key(key)
        await here.service.refresh()
        await here.identified(key)
        await here.identified(rotated.text)
        kept = files(tmp_path)
    assert {"chogori.db", "chogori.db-wal", FILE} <= set(kept)
    for text in (key, rotated.text):
        _, _, id, secret, _ = text.split("-")
        for name, data in (kept | files(tmp_path)).items():
            assert secret.encode() not in data, f"{name} gives the key away"
        assert any(id.encode() in data for data in kept.values()), "its id is kept"


async def test_a_key_is_good_for_what_it_was_granted(tmp_path: Path) -> None:
    grant = Grant(
        organisation="acme",
        project="web",
        scopes=frozenset({"chat", "models"}),
        models=("kimi-k2.5",),
        networks=("10.0.0.0/8", "fd00::/8"),
        shows_reasoning=False,
    )
    async with world(tmp_path) as here:
        key = await here.key(grant)
        for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3"):
            caller = await here.identified(key, address)
            assert (caller.organisation, caller.project) == ("acme", "web")
            assert caller.scopes == {"chat", "models"}
            assert caller.models == {"kimi-k2.5"}
            assert not caller.shows_reasoning
        for address in ("11.1.2.3", "fe00::1", "somewhere"):
            with pytest.raises(Refused, match=f"may not be used from {address}") as refused:
                await here.identified(key, address)
            assert (refused.value.status, refused.value.code) == (403, "ip_not_allowed")


async def test_a_key_ends_when_it_expires(tmp_path: Path) -> None:
    clocks = Clocks()
    async with world(tmp_path, clocks) as here:
        key = await here.key(Grant(expires=clocks.wall() + 60))
        clocks.turn(59.9)
        await here.identified(key)
        clocks.turn(0.1)
        with pytest.raises(Refused, match="expired") as refused:
            await here.identified(key)
        assert refused.value.status == 401


async def test_a_rotated_key_is_good_for_its_grace_and_its_successor_for_the_same(
    tmp_path: Path,
) -> None:
    clocks, limits = Clocks(), Limits(requests_per_minute=7)
    async with world(tmp_path, clocks) as here:
        old = await here.key(Grant(name="web", models=("a",)), limits)
        clocks.turn(1)
        new = await here.administration.rotate_key(old)
        await here.service.refresh()
        first, second = await here.administration.list_keys()
        assert (first.successor, second.id) == (second.id, new.id)
        assert second.grant == Grant(name="web", models=("a",))
        given = await here.administration.limits()
        assert given[str(Subject("key", new.id))] == limits
        with pytest.raises(ConfigError, match="rotated"):
            await here.administration.rotate_key(old)
        clocks.turn(86_400 - 1)
        assert (await here.identified(old)).models == {"a"}
        clocks.turn(1)
        with pytest.raises(Refused, match="expired"):
            await here.identified(old)
        assert (await here.identified(new.text)).models == {"a"}


async def test_a_revoked_key_is_good_for_nothing_and_may_be_named_by_its_beginning(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        key = await here.key()
        id = key.split("-")[2]
        assert await here.administration.revoke_key(id[:6]) == id
        await here.service.refresh()
        with pytest.raises(Refused, match="revoked"):
            await here.identified(key)
        assert await here.administration.revoke_key(key) == id, "once more does no harm"
        assert [act.action for act in (await here.administration.audit()).acts] == [
            "create key",
            "revoke key",
        ]
        for wanted in ("", "nobody"):
            with pytest.raises(ConfigError, match="there is no key"):
                await here.administration.revoke_key(wanted)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("no network", {"networks": ("10.0.0.1/8",)}),
        ("there is no scope root", {"scopes": frozenset({"root"})}),
        ("without a scope", {"scopes": frozenset()}),
        ("cannot be the name", {"organisation": "a/b"}),
        ("cannot be the name", {"project": ""}),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(said: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=said):
        Grant(**wrong)  # pyright: ignore[reportArgumentType]


async def test_the_pepper_is_for_its_owner_alone_and_keys_are_nothing_without_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / FILE
    async with world(tmp_path) as here:
        key = await here.key()
        assert path.stat().st_mode & 0o777 == 0o600
        pepper = read(path.read_text(), "the file")
        assert pepper.digest(key, 1) == (await here.administration.list_keys())[0].digest
    said = path.read_text()
    hexadecimal = said.strip().removeprefix("1:")
    assert not any(bytes.fromhex(hexadecimal) in data for data in files(tmp_path).values())
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_peppers(tmp_path, may_make=False)
    path.unlink()
    with pytest.raises(ConfigError, match="missing"):
        open_peppers(tmp_path, may_make=False)


async def test_an_older_pepper_stays_good_beside_a_newer(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        old = await here.key()
    path = tmp_path / FILE
    path.write_text(path.read_text() + f"2:{'ab' * 32}\n")
    async with world(tmp_path) as here:
        new = await here.key()
        await here.identified(old)
        await here.identified(new)
        assert {key.pepper for key in await here.administration.list_keys()} == {1, 2}
    path.write_text(f"2:{'ab' * 32}\n")
    async with world(tmp_path) as here:
        await here.identified(new)
        with pytest.raises(Refused, match="not one of this server's"):
            await here.identified(old)


@pytest.mark.parametrize("text", ["", "1:ab", "ab" * 32, f"1:{'ab' * 32},1:{'cd' * 32}", "x:y"])
def test_what_are_no_peppers_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="does not list peppers") as raised:
        read(text, "CHOGORI_PEPPER")
    assert "abab" not in str(raised.value)
    assert "abab" not in repr(Peppers({1: b"\xab" * 32}))


async def test_the_audit_log_shows_what_was_changed_and_that_it_was_tampered_with(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        key = await here.key(Grant(name="web"))
        await here.administration.set_limits(
            Subject("organisation", "default"), Limits(tokens_per_day=5)
        )
        found = await here.administration.audit()
        assert found.verdict is not None
        assert found.verdict.problem == ""
        assert [(act.actor, act.action, act.subject) for act in found.acts] == [
            ("test", "create key", f"key:{key.split('-')[2]}"),
            ("test", "set limits", "organisation:default"),
        ]
        assert found.acts[0].changes["name"] == "web"
        assert found.acts[1].changes["tokens_per_day"] == 5
    async with open_store(tmp_path) as store:
        await store.write(lambda tx: tx.execute("delete from entries where sequence = 1"))
    async with world(tmp_path) as here:
        found = await here.administration.audit()
        assert found.verdict is not None
        assert "entry 1 is missing" in found.verdict.problem
