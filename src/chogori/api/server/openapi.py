"""The document at /openapi.json."""

from __future__ import annotations


def openapi() -> bytes:
    """As JSON."""
    return b"{}"
