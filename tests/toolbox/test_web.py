"""`fetch` against a real site on loopback, of which 127.0.0.1 plays the public internet.

All of 127.0.0.0/8 answers here, so the other addresses can play the private network: the judge of
addresses is handed in, as is the resolver. The judge that ships has tests of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import ToolCall, ToolContext, ToolError, text_of
from chogori.toolbox.web import Address, fetch_tool, is_public, resolve_by_system

PAGE = """<html><head><title>Mountains</title></head><body><nav><a href="/home">Home</a></nav>
<article><h2>Chogori</h2><p>It is the second highest mountain of the world, and it is
<a href="/k2">also called K2</a> by most people.</p><p>Its height is 8,611 metres.</p></article>
<footer>Imprint</footer></body></html>"""


class Site:
    """A web server that remembers what it was asked, and by which of its addresses."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.local: list[str] = []
        self.port = 0
        self.released = asyncio.Event()

    def url(self, path: str, host: str = "site.test") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        assert request.transport is not None
        self.local.append(request.transport.get_extra_info("sockname")[0])
        match request.path.split("/")[1:]:
            case ["page"]:
                return web.Response(text=PAGE, content_type="text/html")
            case ["latin"]:
                body = PAGE.replace("Chogori", "Caf\xe9").encode("latin-1")
                return web.Response(
                    body=body, headers={"Content-Type": "text/html; charset=latin-1"}
                )
            case ["json"]:
                return web.json_response({"a": [1, 2]}, headers={"Set-Cookie": "id=1"})
            case ["pdf"]:
                return web.Response(body=b"%PDF-1.7", content_type="application/pdf")
            case ["bare"]:
                response = web.Response(body=b"just text")
                response.headers["Content-Type"] = ""
                return response
            case ["to", target]:
                location = bytes.fromhex(target).decode()
                headers = {"Location": location, "Set-Cookie": "id=2"}
                return web.Response(status=302, headers=headers)
            case ["round", number]:
                raise web.HTTPFound(f"/round/{int(number) + 1}")
            case ["huge"]:
                return await self.pour(request)
            case ["slow"]:
                await self.released.wait()
                return web.Response(text="late")
            case _:
                raise web.HTTPNotFound

    async def pour(self, request: web.Request) -> web.StreamResponse:
        """Text without end."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "0.0.0.0", 0)
    await listener.start()
    site.port = runner.addresses[0][1]
    yield site
    site.released.set()
    await runner.cleanup()


class Names:
    """A name server: each host's answers in turn, the last for ever."""

    def __init__(self, **answers: Iterable[list[str]]) -> None:
        self.answers = {host.replace("_", "."): list(turns) for host, turns in answers.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        turns = self.answers.get(host)
        if not turns:
            raise OSError("no such host")
        return turns.pop(0) if len(turns) > 1 else turns[0]


PUBLIC, PRIVATE = ["127.0.0.1"], ["127.0.0.2"]


def plays_public(address: Address) -> bool:
    return str(address) in PUBLIC


async def fetch(
    url: str, names: Names | None = None, *, out: Path | None = None, **options: Any
) -> str:
    names = names or Names(site_test=[PUBLIC], private_test=[PRIVATE])
    given: dict[str, Any] = {"resolve": names.resolve, "is_public": plays_public, **options}
    fetching = fetch_tool(**given)
    context = ToolContext("r", ToolCall("c", "fetch", "{}"), out=out)
    arguments = orjson.dumps({"url": url}).decode()
    return text_of((await fetching.call(arguments, context)).content)


async def refused(url: str, names: Names | None = None, **options: Any) -> str:
    with pytest.raises(ToolError) as error:
        await fetch(url, names, **options)
    return str(error.value)


def to(url: str) -> str:
    return f"/to/{url.encode().hex()}"


async def test_a_page_comes_as_text_with_its_links(site: Site) -> None:
    told = await fetch(site.url("/page#part"))
    assert told.startswith(f"{site.url('/page')}\n\n# Mountains\n")
    assert "8,611 metres" in told
    assert "[also called K2]" in told
    assert "Imprint" not in told
    assert "Caf\xe9" in await fetch(site.url("/latin"))


async def test_json_and_text_come_as_they_are(site: Site) -> None:
    assert await fetch(site.url("/json")) == f'{site.url("/json")}\n\n{{"a": [1, 2]}}'
    assert (await fetch(site.url("/bare"))).endswith("just text")


async def test_a_redirect_is_followed_and_the_last_address_told(site: Site) -> None:
    told = await fetch(site.url(to(site.url("/json"))))
    assert told.startswith(site.url("/json") + "\n")
    told = await fetch(site.url(to("/json")))
    assert told.startswith(site.url("/json") + "\n"), "a relative one too"


async def test_nothing_of_ours_travels(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    await fetch(site.url(to("/json")))
    assert {name for request in site.asked for name in request.headers} == {
        *("Host", "Accept", "Accept-Encoding", "User-Agent", "Connection")
    }
    assert "Chogori" in site.asked[0].headers["User-Agent"]


@pytest.mark.parametrize(
    "target",
    [
        "http://private.test:{port}/json",
        "http://127.0.0.2:{port}/json",
        "//127.0.0.2:{port}/json",
        "http://2130706433:{port}/json",
        "http://0x7f.1:{port}/json",
        "http://0177.0.0.1:{port}/json",
        "http://127.1:{port}/json",
        "http://[::1]:{port}/json",
        "http://[::ffff:127.0.0.2]:{port}/json",
        "http://user:pass@site.test:{port}/json",
        "file:///etc/passwd",
        "http://127。0。0。2:{port}/json",
    ],
)
@pytest.mark.parametrize("is_redirect", [False, True])
async def test_no_private_address_is_dialled_at_any_hop(
    site: Site, target: str, is_redirect: bool
) -> None:
    target = target.format(port=site.port)
    if target.startswith("//") and not is_redirect:
        target = f"http:{target}"
    told = await refused(site.url(to(target)) if is_redirect else target)
    assert any(
        words in told for words in ("not on the public", "in disguise", "refused", "not a web")
    )
    assert [request.path for request in site.asked if not request.path.startswith("/to/")] == []


async def test_a_name_that_is_bound_anew_is_dialled_by_the_address_that_was_judged(
    site: Site,
) -> None:
    names = Names(site_test=[PUBLIC, PRIVATE])
    await fetch(site.url("/json"), names)
    assert names.asked == ["site.test"], "asked once, so it cannot answer twice"
    assert site.local == PUBLIC


async def test_a_redirect_to_the_same_name_is_judged_again(site: Site) -> None:
    names = Names(site_test=[PUBLIC, PRIVATE])
    assert "not on the public internet" in await refused(site.url(to("/json")), names)
    assert site.local == PUBLIC


async def test_of_mixed_answers_only_the_public_ones_are_dialled(site: Site) -> None:
    await fetch(site.url("/json"), Names(site_test=[PRIVATE + PUBLIC + ["10.0.0.1", "::1"]]))
    assert site.local == PUBLIC


@pytest.mark.parametrize("allowed", ["private.test", "Private.Test", "private.test:{port}"])
async def test_a_host_that_is_allowed_may_be_private(site: Site, allowed: str) -> None:
    url = site.url("/json", "private.test")
    await fetch(url, allow_hosts=[allowed.format(port=site.port)])
    assert site.local == PRIVATE
    assert "not on the public" in await refused(url, allow_hosts=["private.test:1", "test"])


async def test_too_many_redirects_end(site: Site) -> None:
    assert "5 redirects and no page" in await refused(site.url("/round/0"))
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/pdf", "is application/pdf of 8 bytes; fetch reads HTML, JSON and plain text"),
        ("/none", "answered 404 Not Found"),
        (to("http://["), "no web address"),
    ],
)
async def test_a_refusal_says_what_is_there(site: Site, path: str, said: str) -> None:
    assert said in await refused(site.url(path))


async def test_an_address_that_is_none_is_refused() -> None:
    assert "one begins with https://" in await refused("example.com/x")
    assert "cannot be resolved" in await refused("http://nowhere.test/")
    assert "names no host" in await refused("http:///x")
    assert "not a web address" in await refused("http://a.test:99999/")
    assert "no connection" in await refused("http://site.test:1/")
    assert "longer than any server" in await refused("http://site.test/" + "x" * 9_000)


async def test_a_body_without_end_is_cut(site: Site) -> None:
    told = await fetch(site.url("/huge"), max_bytes=100_000, max_chars=1_000)
    assert "[cut at 100.0 kB]" in told
    assert len(told) < 1_300


async def test_a_server_that_never_answers_is_left(site: Site) -> None:
    assert "did not answer in full within 0.2 seconds" in await refused(
        site.url("/slow"), seconds=0.2
    )


async def test_a_long_text_is_kept_in_out(site: Site, tmp_path: Path) -> None:
    told = await fetch(site.url("/json"), out=tmp_path, max_chars=5)
    assert '\n{"a":\n[cut: 5 of 13 characters are shown; the whole is in /out/results/' in told
    kept = told.partition("/out/")[2].partition(",")[0]
    assert (tmp_path / kept).read_text() == '{"a": [1, 2]}'


# --- the judge of addresses

NOT_PUBLIC = [
    *("0.0.0.0", "127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1", "3fff::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "::7f00:1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost.", "[::1]", "0", "0.0.0.0"])
async def test_as_it_ships_this_machine_is_not_reached(site: Site, host: str) -> None:
    url = f"http://{host}:{site.port}/json"
    with pytest.raises(ToolError, match=r"public internet|in disguise|resolved"):
        await fetch(url, resolve=resolve_by_system, is_public=is_public)
    assert not site.asked
