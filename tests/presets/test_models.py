"""Pulling and finding model files, with sources that break in every way."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import Profile
from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model, is_here, pull
from chogori.presets.sources import KnownModel, SourceUnavailable, from_hub

CONTENT = bytes(range(256)) * 4
ENDS = [300, 600, 900, 1024]
MODEL = KnownModel(
    name="tiny",
    file="tiny.gguf",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="none",
    hub="someone/tiny",
    wheels=("a==1", "b==1", "c==1", "d==1"),
    member="{part}",
    profile=Profile(name="tiny"),
)


class FakeHub:
    """Gives `CONTENT` in blocks of 100 bytes, breaking off as it is told."""

    def __init__(self, *breaks: int, content: bytes = CONTENT, ranges: bool = True) -> None:
        self.breaks = list(breaks)
        self.content = content
        self.ranges = ranges
        self.asked: list[int] = []

    def __call__(self, model: KnownModel, start: int) -> Iterator[tuple[int, bytes]]:
        self.asked.append(start)
        stop = self.breaks.pop(0) if self.breaks else len(self.content)
        at = start if self.ranges else 0
        while at < min(stop, len(self.content)):
            block = self.content[at : min(at + 100, stop)]
            yield at, block
            at += len(block)
        if at < len(self.content):
            raise SourceUnavailable("the hub broke off")


class FakeWheels:
    """Gives the parts, breaking off after so many bytes."""

    def __init__(self, break_at: int | None = None, content: bytes = CONTENT) -> None:
        self.break_at = break_at
        self.content = content
        self.asked: list[int] = []

    def __call__(self, model: KnownModel, here: int, folder: Path) -> Iterator[bytes | None]:
        self.asked.append(here)
        starts = [0, *ENDS]
        for start, end in zip(starts[here:], ENDS[here:], strict=False):
            for at in range(start, end, 50):
                if self.break_at is not None and at >= self.break_at:
                    raise SourceUnavailable("the index broke off")
                yield self.content[at : min(at + 50, end)]
            yield None


def nothing(model: KnownModel, *rest: object) -> Iterator[tuple[int, bytes]]:
    raise SourceUnavailable("no network")
    yield


NO_HUB = FakeHub(0, 0, 0, 0, 0, 0, 0, 0, 0)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_pulled_file_is_found_and_nothing_else_is_left(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = pull(MODEL, lambda *done: told.append(done), folder=tmp_path / "m", hub=FakeHub())
    assert path.read_bytes() == CONTENT
    assert find_model(MODEL, tmp_path / "m") == path
    assert is_here(MODEL, tmp_path / "m")
    assert told == sorted(told)
    assert told[-1] == (1024, 1024)
    assert left(tmp_path / "m") == {"tiny.gguf", "tiny.gguf.lock", "tiny.gguf.verified.json"}
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o700


def test_where_the_hub_is_not_reached_the_wheels_bring_the_same_file(tmp_path: Path) -> None:
    wheels = FakeWheels()
    path = pull(MODEL, folder=tmp_path, hub=nothing, wheels=wheels)
    assert path.read_bytes() == CONTENT
    assert wheels.asked == [0]


def test_the_hub_goes_on_at_the_byte_where_it_broke_off(tmp_path: Path) -> None:
    hub = FakeHub(150, 420)
    assert pull(MODEL, folder=tmp_path, hub=hub).read_bytes() == CONTENT
    assert hub.asked == [0, 150, 420]


def test_a_hub_that_cannot_begin_in_the_middle_begins_anew(tmp_path: Path) -> None:
    hub = FakeHub(150, ranges=False)
    assert pull(MODEL, folder=tmp_path, hub=hub).read_bytes() == CONTENT


def test_a_pull_that_broke_off_goes_on_at_the_part(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="650 of 1,024 bytes are here"):
        pull(MODEL, folder=tmp_path, hub=nothing, wheels=FakeWheels(650))
    wheels = FakeWheels()
    assert pull(MODEL, folder=tmp_path, hub=nothing, wheels=wheels).read_bytes() == CONTENT
    assert wheels.asked == [2]


def test_what_the_hub_brought_stays_when_the_wheels_bring_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="500 of"):
        pull(MODEL, folder=tmp_path, hub=FakeHub(500, 0, 0, 0, 0), wheels=FakeWheels(0))
    hub = FakeHub()
    assert pull(MODEL, folder=tmp_path, hub=hub).read_bytes() == CONTENT
    assert hub.asked == [500]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1024)), max_size=6), st.booleans())
def test_however_often_it_breaks_off_the_file_is_whole_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[tuple[bool, int]], by_hub: bool
) -> None:
    folder = tmp_path_factory.mktemp("pull")
    for hub_breaks, at in breaks:
        hub = FakeHub(*[at] * 5) if hub_breaks else nothing
        wheels = FakeWheels(0 if hub_breaks else at)
        try:
            pull(MODEL, folder=folder, hub=hub, wheels=wheels)
        except ModelFileError:
            assert not (folder / MODEL.file).exists()
    path = pull(MODEL, folder=folder, hub=FakeHub() if by_hub else nothing, wheels=FakeWheels())
    assert path.read_bytes() == CONTENT


def test_an_interrupt_leaves_a_part_to_go_on_from(tmp_path: Path) -> None:
    def interrupt(done: int, whole: int) -> None:
        if done >= 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(MODEL, interrupt, folder=tmp_path, hub=nothing, wheels=FakeWheels())
    assert not (tmp_path / MODEL.file).exists()
    wheels = FakeWheels()
    assert pull(MODEL, folder=tmp_path, hub=nothing, wheels=wheels).read_bytes() == CONTENT
    assert wheels.asked == [2]


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"x", b"<html>" + CONTENT[6:]], ids=["last byte", "first bytes"]
)
def test_what_has_another_hash_is_refused_with_both_and_removed(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ModelFileError) as caught:
        pull(MODEL, folder=tmp_path, hub=FakeHub(content=content))
    assert MODEL.sha256 in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert "pull again: chogori models pull tiny" in str(caught.value)
    assert left(tmp_path) == {"tiny.gguf.lock"}
    assert pull(MODEL, folder=tmp_path, hub=FakeHub()).read_bytes() == CONTENT


def test_a_part_of_another_version_of_the_model_is_not_built_upon(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        pull(MODEL, folder=tmp_path, hub=nothing, wheels=FakeWheels(650))
    other = replace(MODEL, sha256=hashlib.sha256(CONTENT[::-1]).hexdigest())
    with pytest.raises(ModelFileError):
        pull(other, folder=tmp_path, hub=nothing, wheels=FakeWheels(10, CONTENT[::-1]))
    wheels = FakeWheels(content=CONTENT[::-1])
    assert pull(other, folder=tmp_path, hub=nothing, wheels=wheels).read_bytes() == CONTENT[::-1]
    assert wheels.asked == [0]


def test_a_model_that_is_not_here_is_told_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not here yet; run: chogori models pull tiny"):
        find_model(MODEL, tmp_path)
    assert not is_here(MODEL, tmp_path)


@pytest.mark.parametrize(
    ("content", "word"), [(CONTENT[:100], "truncated"), (b"x" + CONTENT[1:], "altered")]
)
def test_a_damaged_file_is_refused_with_both_hashes_and_pulled_again(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = pull(MODEL, folder=tmp_path, hub=FakeHub())
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelFileError, match=word) as caught:
        find_model(MODEL, tmp_path)
    assert MODEL.sha256 in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert pull(MODEL, folder=tmp_path, hub=FakeHub()).read_bytes() == CONTENT


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / MODEL.file
    path.write_bytes(CONTENT)
    assert find_model(MODEL, tmp_path) == path
    times = path.stat().st_mtime_ns
    with path.open("r+b") as file:  # same size, time and inode: as a disk fault would leave it
        file.write(b"x")
    os.utime(path, ns=(times, times))
    assert find_model(MODEL, tmp_path) == path, "it is not hashed again"
    os.utime(path, ns=(times + 1, times + 1))
    with pytest.raises(ModelFileError, match="altered"):
        find_model(MODEL, tmp_path)


def test_what_is_here_and_whole_is_not_fetched_again(tmp_path: Path) -> None:
    pull(MODEL, folder=tmp_path, hub=FakeHub())
    assert pull(MODEL, folder=tmp_path, hub=nothing, wheels=FakeWheels(0)).exists()


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    hub = FakeHub()
    with pytest.raises(ModelFileError, match=r"only 0\.0 GB are free"):
        pull(MODEL, folder=tmp_path, hub=hub, free_bytes=lambda path: 10)
    assert hub.asked == []


def test_a_full_disk_is_told_and_not_a_traceback(tmp_path: Path) -> None:
    def full(model: KnownModel, start: int) -> Iterator[tuple[int, bytes]]:
        yield 0, CONTENT[:10]
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelFileError, match="No space left on device; what has come is kept"):
        pull(MODEL, folder=tmp_path, hub=full)


def test_of_two_at_once_the_second_waits_and_fetches_nothing(tmp_path: Path) -> None:
    """The first holds the lock until the second has waited; then it is done."""
    hub, told, waits = FakeHub(), [], 0
    with (tmp_path / "tiny.gguf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (tmp_path / "tiny.gguf.part").write_bytes(CONTENT[:400])

        def wait(seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 2:
                (tmp_path / "tiny.gguf.part").replace(tmp_path / "tiny.gguf")
                (tmp_path / "tiny.gguf").write_bytes(CONTENT)
                fcntl.flock(lock, fcntl.LOCK_UN)

        path = pull(MODEL, lambda *d: told.append(d), folder=tmp_path, hub=hub, wait=wait)
    assert path.read_bytes() == CONTENT
    assert hub.asked == []
    assert told[0] == (400, 1024), "the other's progress is told"


class Site(BaseHTTPRequestHandler):
    """A hub on loopback, which may break off or serve something else."""

    def do_GET(self) -> None:
        start = 0
        if wanted := self.headers["Range"]:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if "missing" in self.path:
            self.send_error(404)
            return
        body = CONTENT[start:] if "tiny" in self.path else b"<html>please log in</html>"
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 200 if "short" in self.path else None])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(site: str, start: int = 0, hub: str = "someone/tiny") -> bytes:
    model = replace(MODEL, hub=hub, file="x.gguf" if hub == "someone/other" else MODEL.file)
    return b"".join(block for _, block in from_hub(model, start, hub=site, seconds=5))


def test_the_hub_is_read_over_http_from_any_byte(site: str) -> None:
    assert fetched(site) == CONTENT
    assert fetched(site, 1000) == CONTENT[1000:]


@pytest.mark.parametrize(
    ("hub", "words"),
    [
        ("missing", "answered 404"),
        ("someone/other", "which is another file"),
        ("short", "broke off"),
    ],
)
def test_what_the_hub_gets_wrong_makes_it_unavailable(site: str, hub: str, words: str) -> None:
    with pytest.raises(SourceUnavailable, match=words):
        fetched(site, 0, hub)


def test_a_hub_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        fetched("http://127.0.0.1:9")


def test_the_known_models_are_written_down_whole() -> None:
    for name, model in KNOWN_MODELS.items():
        assert model.name == name == model.profile.spec
        assert model.bytes > 0
        assert len(model.sha256) == 64
        assert model.hub or model.wheels
