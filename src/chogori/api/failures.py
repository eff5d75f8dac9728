"""What goes wrong with an endpoint, as one of our errors: what was found and what to do.

Bodies of errors are read in every shape in use: {"error": {"message"}}, {"error": "..."},
{"object": "error", "message"}, {"detail": ...}, plain text, and the web page of a server that is
no API at all. A key never appears in a message, even where the endpoint repeats it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp

from chogori.api.fields import record
from chogori.api.retries import may_retry, retry_after_seconds
from chogori.api.sse import decode
from chogori.errors import (
    ChogoriError,
    ConfigError,
    ContextTooLong,
    EndpointError,
    RateLimited,
    StreamCut,
)

_TOO_LONG = re.compile(
    r"context[_ ](length|window|size)|maximum context|exceed\w* (the )?(model|available|max\w*) "
    r"?(token|context|input)|model token limit|prompt is too long|input is too long"
    r"|longer than the model",
    re.IGNORECASE,
)
_NO_CREDIT = ("exceeded_current_quota_error", "insufficient_quota")
_ID_HEADERS = ("x-request-id", "msh-request-id", "x-trace-id")


class Failure(Exception):
    """One request failed. `error` is what to raise, unless it `may_pass` and is tried again."""

    def __init__(
        self,
        error: ChogoriError,
        *,
        may_pass: bool = False,
        status: int | None = None,
        after_seconds: float | None = None,
        complaint: Complaint | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.may_pass = may_pass
        self.status = status
        self.after_seconds = after_seconds
        self.complaint = complaint
        """What the endpoint said, where it said something."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the body of an error says."""

    message: str
    kind: str = ""
    """Its `type` and `code`."""
    status: int | None = None
    is_page: bool = False
    param: str | None = None
    """The field that is wrong, where it was named."""

    @property
    def is_too_long(self) -> bool:
        """Whether it is that the conversation does not fit."""
        return bool(_TOO_LONG.search(self.kind) or _TOO_LONG.search(self.message))


def may_complain(value: object) -> bool:
    """Whether a JSON value is worth a closer look: it is no chunk, or might be a complaint."""
    if type(value) is not dict:
        return True
    chunk = cast(dict[str, Any], value)
    return "error" in chunk or chunk.get("object") == "error" or chunk.get("type") == "error"


def complaint_in(value: object) -> Complaint | None:
    """The complaint that a JSON value is, or None where it is none."""
    body = record(value)
    error = body.get("error")
    if record(error):
        body = record(error)
    elif isinstance(error, str) and error:
        body = {"message": error}
    elif body.get("object") != "error" and body.get("type") != "error":
        return None
    code, kind = body.get("code"), body.get("type")
    number = int(str(code)) if str(code).isdecimal() else 0
    status = number if 400 <= number < 600 else None
    names = " ".join(str(name) for name in (kind, code) if name)
    message = _plain(str(body.get("message") or names or "no reason given"))
    param = body.get("param")
    return Complaint(message, names, status, param=param if isinstance(param, str) else None)


def read_complaint(body: bytes) -> Complaint:
    """The complaint in the body of a refusal, whatever its shape."""
    text = body.decode("utf-8", "replace").strip()
    if re.match(r"(?i)<(!doctype|html|head|body|\?xml)", text):
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        return Complaint(_plain(title[1]) if title else "a web page", is_page=True)
    try:
        value = decode(body)[0]
    except (ValueError, IndexError):
        value = None
    said = complaint_in(value)
    if said is None and (detail := record(value).get("detail") or record(value).get("message")):
        said = complaint_in({"error": {**record(value), "message": detail}})
    return said or Complaint(_plain(text) or "no reason given")


def refusal(
    status: int,
    headers: Mapping[str, str],
    complaint: Complaint,
    *,
    url: str,
    model: str,
    key_advice: str,
    now: float,
) -> Failure:
    """A request that was answered with `status`."""
    request_id = next((headers[name] for name in _ID_HEADERS if name in headers), "")
    about = f" (request {_plain(request_id)})" if request_id else ""
    where = f"{url} answered {status}{about}"
    said = complaint.message
    asked = retry_after_seconds(headers, now)
    may_pass = may_retry(status, headers)
    error: ChogoriError
    if status in (400, 413, 422) and complaint.is_too_long:
        error = ContextTooLong(f"{where}: {said}; shorten the conversation, or ask a larger model")
    elif 300 <= status < 400:
        target = _plain(headers.get("location", "")) or "nowhere"
        error = _error(
            f"{where}: it redirects to {target}, and a request with its key is not sent on; if you "
            "trust that address, use it as the endpoint",
            url,
            status,
        )
    elif complaint.is_page:
        error = _error(
            f"{where} with a web page ({said}) where JSON is due; {_advice_on_path(url)}",
            url,
            status,
        )
    elif status in (401, 403):
        error = _error(f"{where}: {said}; {key_advice}", url, status)
    elif status == 404 and (complaint.kind or "model" in said.lower()):
        error = _error(f"{where}: it has no model {model!r} ({said})", url, status)
    elif status in (404, 405):
        error = _error(f"{where}: {said}; {_advice_on_path(url)}", url, status)
    elif status == 402 or any(kind in complaint.kind for kind in _NO_CREDIT):
        error = RateLimited(
            f"{where}: {said}; the account has nothing left to spend", url=url, status=status
        )
        may_pass = False
    elif status in (429, 529):
        wait = f"; it asks to wait {asked:.0f} s" if asked else ""
        error = RateLimited(f"{where}: {said}{wait}; ask less at once", url=url, status=status)
    elif status >= 500:
        error = _error(f"{where}: {said}; the trouble is the endpoint's own", url, status)
    else:
        error = _error(f"{where}: {said}", url, status)
    return Failure(
        error, may_pass=may_pass, status=status, after_seconds=asked, complaint=complaint
    )


def complained(complaint: Complaint, *, url: str) -> Failure:
    """An error in the stream itself."""
    status = complaint.status
    if complaint.is_too_long:
        error = ContextTooLong(f"{url}: {complaint.message}; shorten the conversation")
        return Failure(error, complaint=complaint)
    text = f"{url} reported an error in its stream: {complaint.message}"
    may_pass = status is None or may_retry(status, {})
    kind = RateLimited if status == 429 else StreamCut if may_pass else EndpointError
    return Failure(
        kind(text, url=url, status=status), may_pass=may_pass, status=status, complaint=complaint
    )


def broken(error: Exception, *, url: str, begun: bool, idle_seconds: float) -> Failure:
    """A connection that failed, before the answer or in it."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        text = f"no connection to {url} in time; is the host up, is a firewall between?"
        return Failure(_error(text, url), may_pass=True)
    if isinstance(error, TimeoutError):
        text = f"{url} sent nothing for {idle_seconds:g} s; it hangs, or the prompt takes longer"
        return Failure(StreamCut(text, url=url))
    if isinstance(error, aiohttp.ClientSSLError):
        plain = "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error).lower()
        advice = "it speaks plain HTTP: write http://" if plain else "check the certificate"
        return Failure(_error(f"{url}: TLS failed ({_reason(error)}); {advice}", url))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        text = f"there is no host {error.host!r} ({_reason(error)}); check the spelling of {url}"
        may_pass = error.os_error.errno == socket.EAI_AGAIN
        return Failure(_error(text, url), may_pass=may_pass)
    if isinstance(error, aiohttp.ClientConnectorError):
        text = f"nothing answers at {url} ({_reason(error)}); is the server running, on that port?"
        return Failure(_error(text, url), may_pass=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(ConfigError(f"{url!r} is not an address"))
    cut = "in the middle of the reply" if begun else "before the reply began"
    text = f"{url} closed the connection {cut} ({_reason(error)})"
    return Failure(StreamCut(text, url=url), may_pass=True)


def _error(text: str, url: str, status: int | None = None) -> EndpointError:
    return EndpointError(text, url=url, status=status)


def _advice_on_path(url: str) -> str:
    base = re.sub(r"/(chat/completions|models)$", "", url)
    if base.endswith("/v1"):
        return f"is {base} the address of an OpenAI-compatible API?"
    return f"did you mean {base}/v1?"


def _reason(error: Exception) -> str:
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    return _plain(getattr(inner, "strerror", None) or str(inner) or type(error).__name__)


def _plain(text: str) -> str:
    """One line, without control characters, of bearable length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 600 else line[:600] + "..."
