"""An endpoint: its address, its key, its connections. One request at a time, no second try.

Redirects are not followed: the conversation and the key would go to a host nobody chose. Closing
an answer early closes its connection, so that the server stops working. Each event loop has a
session of its own, which ends with the loop (`asyncio.run` closes the generator that holds it); so
a model outlives any number of loops. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import aiohttp.payload
from aiohttp.abc import AbstractStreamWriter

from chogori.api.failures import (
    Complaint,
    Failure,
    broken,
    complained,
    complaint_in,
    may_complain,
    read_complaint,
    refusal,
)
from chogori.api.fields import listed, record
from chogori.api.keys import Keys
from chogori.api.sse import DONE, MOST_BYTES, EventReader, decode, decode_all
from chogori.api.together import together
from chogori.errors import ConfigError, StreamCut

KeySource = Callable[[str], str | None]
Piece = bytes | memoryview
"""Of the body of a request."""
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
_CONNECT_SECONDS = 30.0
_LAST_BYTES_SECONDS = 0.05
_MOST_COMPLAINT = 256 * 1024
_FIRST_BYTES = 32 * 1024
"""Of a request: what goes out together with the headers."""
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is."""

    url: str
    """The base: what "/chat/completions" is appended to."""
    host: str
    model: str | None = None


def read_address(spec: str) -> Address:
    """The address in "http(s)://HOST/v1#MODEL". Raises `ConfigError`."""
    base, _, model = spec.strip().partition("#")
    try:
        parts = urlsplit(base)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{base!r} is not an address: {error}") from error
    del port
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{spec!r} is not an endpoint; expected http(s)://HOST/v1#MODEL")
    if parts.username is not None or parts.query:
        raise ConfigError(
            f"the address of {host} holds a password or a query; addresses are shown and kept, "
            "so give the key as api_key or in endpoint_keys.json"
        )
    path = re.sub(r"/chat/completions/?$", "", parts.path).rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", host, model.strip() or None)


class Endpoint:
    """Asks one address."""

    def __init__(
        self, address: Address, keys: KeySource, *, idle_seconds: float, now: Callable[[], float]
    ) -> None:
        self.url = address.url
        self.host = address.host
        self._keys = keys
        self._key: str | None = None
        self._knows_key = False
        self._idle_seconds = idle_seconds
        self._now = now
        self._sessions: dict[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession]] = {}
        self._open: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    @property
    def key(self) -> str | None:
        """The key, looked up when it is first wanted. Raises `ConfigError`."""
        if not self._knows_key:
            key = (self._keys(self.url) or "").strip()
            if not (key.isascii() and key.isprintable()):
                raise ConfigError(f"the key for {self.host} holds characters that no key has")
            self._key, self._knows_key = key or None, True
        return self._key

    async def ask(
        self, body: Sequence[Piece], model: str
    ) -> AsyncGenerator[Mapping[str, Any] | None]:
        """POST /chat/completions; the chunks of the answer, with None for its end. Closing them
        early closes the connection. Raises `Failure`, and so do the chunks."""
        return self._chunks(await self.post(body, model))

    async def post(self, body: Sequence[Piece], model: str) -> aiohttp.ClientResponse:
        """POST /chat/completions; the answer, whose body is still to be read. Raises `Failure`."""
        return await self._request("POST", "chat/completions", body, model)

    async def models(self) -> list[Mapping[str, Any]]:
        """GET /models. Raises `Failure`."""
        response = await self._request("GET", "models", None, "")
        try:
            found = decode(await response.content.read(MOST_BYTES))[0]
        except (*BROKEN, ValueError, IndexError):
            raise self.cut("sent a list of models that cannot be read") from None
        finally:
            response.close()
        entries = listed(record(found).get("data")) or listed(record(found).get("models"))
        return [record(entry) for entry in entries]

    async def aclose(self) -> None:
        """Close the connections that this loop has open."""
        loop = asyncio.get_running_loop()
        self._open.pop(loop, None)
        if held := self._sessions.pop(loop, None):
            await held.aclose()

    async def _request(
        self, method: str, path: str, body: Sequence[Piece] | None, model: str
    ) -> aiohttp.ClientResponse:
        """The answer, whose body is still to be read. Raises `Failure`."""
        url = f"{self.url}/{path}"
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        session = await self._session()
        try:
            response = await session.request(
                method,
                url,
                data=None if body is None else _Body(body),
                headers=headers,
                allow_redirects=False,
            )
        except BROKEN as error:
            raise self.broken(error, begun=False) from error
        kind = response.headers.get("Content-Type", "")
        if 200 <= response.status < 300 and not kind.lstrip().lower().startswith("text/html"):
            return response
        try:
            raise await self._refusal(response, url, model)
        finally:
            response.close()

    async def _chunks(
        self, response: aiohttp.ClientResponse
    ) -> AsyncGenerator[Mapping[str, Any] | None]:
        events, begun = EventReader(), False
        is_json: bool | None = None
        whole: list[bytes] = []
        size = 0
        try:
            async for data in response.content.iter_any():
                if is_json is None and data.strip():
                    # Some answer a request for a stream with one object, and name it anyhow.
                    is_json = data.lstrip().startswith((b"{", b"["))
                if is_json:
                    whole.append(data)
                    if (size := size + len(data)) > MOST_BYTES:
                        raise ValueError(f"an answer longer than {MOST_BYTES} bytes")
                    continue
                for chunk in self.chunks_of(events.feed(data)):
                    yield chunk
                    begun = True
                    if chunk is None:
                        await read_last_bytes(response)
                        return
            for chunk in self.chunks_of([b"".join(whole)] if is_json else events.close()):
                yield chunk
                begun = True
        except BROKEN as error:
            raise self.broken(error, begun=begun) from error
        except ValueError as error:
            raise self.cut(f"sent what cannot be read ({error})") from error
        finally:
            response.close()  # which spares the connection if all of the answer was read

    def chunks_of(self, events: Sequence[bytes]) -> Iterator[Mapping[str, Any] | None]:
        """The chunks of several events, joined; those before one that cannot be read come first.
        Raises `Failure` and `ValueError`."""
        is_over = len(events) > 1 and events[-1] == DONE
        at_once = decode_all(events[:-1] if is_over else events) if len(events) > 1 else None
        if at_once is not None and not any(map(may_complain, at_once)):
            yield from together([*at_once, None] if is_over else at_once)
            return
        chunks: list[Mapping[str, Any] | None] = []
        wrong: Failure | ValueError | None = None
        for event in events:
            try:
                chunks += self._read(event)
            except (Failure, ValueError) as error:
                wrong = error
                break
        yield from together(chunks)
        if wrong is not None:
            raise wrong

    def _read(self, event: bytes) -> list[Mapping[str, Any] | None]:
        if event.strip() == DONE:
            return [None]
        chunks: list[Mapping[str, Any] | None] = []
        for value in decode(event):
            complaint = complaint_in(value)
            if complaint is not None:
                raise complained(self._hide_key(complaint), url=self.url)
            chunks.append(record(value))
        return chunks

    async def _refusal(self, response: aiohttp.ClientResponse, url: str, model: str) -> Failure:
        try:
            body = await response.content.read(_MOST_COMPLAINT)
        except BROKEN:
            body = b""
        return refusal(
            response.status,
            response.headers,
            self._hide_key(read_complaint(body)),
            url=url,
            model=model,
            key_advice=self._key_advice() if response.status in (401, 403) else "",
            now=self._now(),
        )

    def _key_advice(self) -> str:
        if self.key:
            return f"the key for {self.host} was sent and refused; is it the right one, and valid?"
        if isinstance(self._keys, Keys):
            return self._keys.advice(self.url)
        return "no key was sent; give one as api_key"

    def _hide_key(self, complaint: Complaint) -> Complaint:
        if not self._key:
            return complaint
        message = complaint.message.replace(self._key, "[key]")
        return replace(complaint, message=message)

    def broken(self, error: Exception, *, begun: bool) -> Failure:
        """What a connection that failed comes to."""
        return broken(error, url=self.url, begun=begun, idle_seconds=self._idle_seconds)

    def cut(self, what: str) -> Failure:
        """What an answer comes to that cannot be used."""
        return Failure(StreamCut(f"{self.url} {what}", url=self.url), may_pass=True)

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            for old in [old for old in self._open if old.is_closed()]:
                del self._open[old], self._sessions[old]
            held = self._sessions[loop] = self._hold_session()
            self._open[loop] = await anext(held)
        return self._open[loop]

    async def _hold_session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """Holds a session until it is closed: by `aclose`, or by the event loop at its end."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._idle_seconds
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # how many at once is the limiter's affair
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
        ) as session:
            yield session


class _Body(aiohttp.payload.Payload):
    """A request, handed over in pieces: as one it would be copied twice, to stand behind the
    headers, and for what the socket does not take at once."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(pieces, content_type="application/json")
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(cast(Sequence[Piece], self._value)).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        pieces = cast(Sequence[Piece], self._value)
        if self._size is not None and self._size <= _FIRST_BYTES:
            await writer.write(b"".join(pieces))
            return
        for piece in map(memoryview, pieces):
            await writer.write(piece[:_FIRST_BYTES])
            for at in range(_FIRST_BYTES, len(piece), _PIECE_BYTES):
                await writer.write(piece[at : at + _PIECE_BYTES])


async def read_last_bytes(response: aiohttp.ClientResponse) -> None:
    """Read to the end of an answer that is over, so that its connection can be used again."""
    try:
        async with asyncio.timeout(_LAST_BYTES_SECONDS):
            await response.content.read()
    except BROKEN:
        pass
