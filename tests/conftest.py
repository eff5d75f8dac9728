"""What holds in every test: no socket leaves this machine, nobody's home is touched, and however
slow the machine is, that is no failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model, pull
from fence import FENCE, HOMES, MODELS

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


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
