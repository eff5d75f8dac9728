"""What holds in every test: no socket leaves this machine, and nobody's home is touched."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model, models_folder, pull

MODELS = models_folder()
"""Where the developer's model files are: read before any test has a home of its own."""
HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


class Fence:
    """An audit hook that, while it is up, lets no socket of this process reach beyond loopback.

    An audit hook stays for the life of the process, so there is one, and it is put up and down.
    """

    def __init__(self) -> None:
        self.is_up = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_up and event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if isinstance(address, tuple) and not _is_loopback(str(address[0])):
                raise AssertionError(f"a test reached for {address}; only loopback is allowed")


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


FENCE = Fence()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "internet: may reach beyond loopback")
    config.addinivalue_line("markers", "real_home: sees the developer's own HOME and XDG folders")


@pytest.fixture(autouse=True)
def _fenced(request: pytest.FixtureRequest) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    FENCE.is_up = request.node.get_closest_marker("internet") is None
    yield
    FENCE.is_up = False


@pytest.fixture(autouse=True)
def _homeless(  # pyright: ignore[reportUnusedFunction]
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if request.node.get_closest_marker("real_home") is None:
        home = tmp_path_factory.getbasetemp() / "home"
        home.mkdir(exist_ok=True)
        for name in HOMES:
            monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The small model's file; fetched if it is not here."""
    model = KNOWN_MODELS["smollm2"]
    try:
        return find_model(model, MODELS)
    except ModelFileError:
        pass
    try:
        return pull(model, folder=MODELS)
    except ModelFileError as error:
        pytest.skip(f"{error}; these tests need: chogori models pull smollm2")
