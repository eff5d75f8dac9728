"""What `conftest` promises of every test."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from fence import FENCE, HOMES, MODELS


@pytest.mark.parametrize("address", ["192.0.2.1", "8.8.8.8"])
def test_no_test_reaches_beyond_loopback(address: str) -> None:
    with socket.socket() as one, pytest.raises(AssertionError, match="only loopback is allowed"):
        one.connect((address, 9))
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(AssertionError):
        one.sendto(b"x", (address, 9))
    with socket.socket(socket.AF_INET6) as one, pytest.raises(AssertionError):
        one.connect(("2001:db8::1", 9))


async def test_no_coroutine_reaches_beyond_loopback() -> None:
    with pytest.raises(AssertionError, match="only loopback is allowed"):
        await asyncio.open_connection("192.0.2.1", 9)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost"])
def test_loopback_is_open(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as one:
        port = server.getsockname()[1] if host != "127.9.9.9" else 1
        assert one.connect_ex((host, port)) in (0, 111)


@pytest.mark.internet
def test_a_marked_test_is_outside_the_fence() -> None:
    assert not FENCE.is_up


def test_no_test_sees_the_developers_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    assert all(Path(os.environ[name]).is_relative_to(base) for name in HOMES)
    assert Path.home().is_relative_to(base)
    assert not MODELS.is_relative_to(base), "but where the model files are is known"


@pytest.mark.real_home
def test_a_marked_test_sees_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not Path.home().is_relative_to(tmp_path_factory.getbasetemp())
