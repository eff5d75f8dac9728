"""What a request that is not let in is told: which limit, what is taken of it, and when to come
back. Types are Moonshot's words, codes are OpenAI's.
"""

from __future__ import annotations

from chogori.api.platform import Refused
from chogori.service.allowances import Exhausted
from chogori.service.limits import Subject
from chogori.service.prices import dollars
from chogori.service.purse import Insufficient
from chogori.service.rate_headers import NO_RETRY, headers_of, retry_headers
from chogori.service.sliding_log import SECOND_NS

_NO_KEY = "no API key was given; expected the header Authorization: Bearer sk-chg-..."
_WRONG = "the API key is not one of this server's; see that it was copied whole"
_AUTHENTICATE = {"www-authenticate": "Bearer"}


def unknown_key(given: str | None) -> Refused:
    """The same for every wrong key, whatever is wrong with it."""
    return _unauthenticated(_WRONG if given else _NO_KEY)


def ended_key(state: str) -> Refused:
    """For whoever has the whole of a key that is good no more."""
    return _unauthenticated(f"the API key is {state}; ask whoever runs this server for another")


def _unauthenticated(message: str) -> Refused:
    return Refused(
        401, "invalid_authentication_error", "invalid_api_key", message, headers=_AUTHENTICATE
    )


def too_many_wrong_keys(wait_ns: int) -> Refused:
    """For an address from which they keep coming."""
    message = f"too many wrong API keys came from this address; {_again(wait_ns)}"
    return Refused(
        429,
        "rate_limit_reached_error",
        "rate_limit_exceeded",
        message,
        headers=retry_headers(wait_ns),
    )


def wrong_place(address: str) -> Refused:
    """For a key that may not be used from there."""
    message = f"this API key may not be used from {address}"
    return Refused(403, "permission_denied_error", "ip_not_allowed", message)


def exhausted(error: Exhausted) -> Refused:
    """For a limit that is reached."""
    whose = _whose(error.subject)
    if error.wait_ns is None:
        message = (
            f"the request asks for {error.asked} tokens, and {whose} may take {error.limit} "
            f"{error.dimension}; ask for fewer with max_completion_tokens"
        )
    else:
        asked = f", the request asks for {error.asked}" if error.asked > 1 else ""
        message = (
            f"{whose} reached its limit of {error.dimension}: current {error.current}, "
            f"limit {error.limit}{asked}; {_again(error.wait_ns)}"
        )
    headers = headers_of(error.standing) | retry_headers(error.wait_ns)
    return Refused(429, "rate_limit_reached_error", "rate_limit_exceeded", message, headers=headers)


def insufficient(error: Insufficient, organisation: str) -> Refused:
    """For a balance that does not cover what a request may cost."""
    message = (
        f"the balance of organisation {organisation} is {dollars(error.available)}, what is held "
        f"for requests under way taken off; this one may cost {dollars(error.asked)}: ask for "
        "fewer tokens with max_completion_tokens, or top up"
    )
    return Refused(
        429, "exceeded_current_quota_error", "insufficient_quota", message, headers=NO_RETRY
    )


def closed(why: str) -> Refused:
    """For everybody, once this process may serve no more."""
    message = f"this server has stopped serving: {why}"
    return Refused(503, "server_unavailable", "server_unavailable", message)


def _whose(subject: Subject) -> str:
    return f"this {subject.kind}" if subject.kind == "key" else f"{subject.kind} {subject.id}"


def _again(wait_ns: int) -> str:
    return f"try again in {-(-wait_ns // SECOND_NS)} s"
