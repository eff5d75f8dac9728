"""What records say, as JSON."""

from __future__ import annotations

import json
from typing import Any, cast

import orjson


def dump(value: Any) -> bytes:
    """JSON; whatever the value holds, it can be written."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, a number beyond 64 bits, an object of an adapter's own
        return json.dumps(value, default=str, skipkeys=True, sort_keys=True).encode()


def load(text: bytes) -> dict[str, Any]:
    """What `dump` wrote."""
    try:
        return cast(dict[str, Any], orjson.loads(text))
    except orjson.JSONDecodeError:
        return cast(dict[str, Any], json.loads(text))
