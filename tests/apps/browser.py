"""The real Chromium of the system, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--no-default-browser-check"),
)


@contextmanager
def chromium(folder: Path) -> Generator[Any]:
    """A browser context with a profile in `folder`. Skips where there is no Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no Chromium, in which pages are tested: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=found, args=[*FLAGS], locale="en-US"
        )
        context.set_default_timeout(30_000)
        yield context
        context.close()
