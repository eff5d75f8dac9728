"""Starts the processes that the measures of the server need, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chogori.presets.platform import open_administration
from chogori.service import Grant, Limits, Subject
from chogori.service.keys import SCOPES

HERE = Path(__file__).parent
PEERS = HERE.parent.parent / ".venv-peers"
MODEL = "kimi-k2-thinking"
"""A model with a price, so that money moves."""
PATIENCE_SECONDS = 120
CHOGORI = Path(sys.executable).with_name("chogori")
WIDE = Limits(
    requests_per_minute=1_000_000,
    tokens_per_minute=10**12,
    tokens_per_day=10**12,
    concurrent_requests=10_000,
)
"""Limits that are kept count of, and never reached."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def leave(data: Path, microdollars: int) -> None:
    """Take from the organisation all that it has, but for so much."""

    async def work() -> None:
        async with open_administration(data) as administration:
            [organisation] = await administration.organisations()
            most = microdollars - organisation.funds.cash
            await administration.top_up("default", most, "for the measures")

    asyncio.run(work())


class DidNotRun(Exception):
    """Something could not be measured; the text says why."""


@dataclass(slots=True)
class Serving:
    """A server under way."""

    process: subprocess.Popen[bytes]
    port: int
    key: str = ""
    began: float = field(default_factory=time.perf_counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory_mb(self) -> float:
        """What it has in memory, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    @property
    def cpu_seconds(self) -> float:
        """What it has computed for, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    @property
    def descriptors(self) -> int:
        """The files and sockets it holds open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def get(self, path: str, key: str | None = None) -> Any:
        """What a GET answers: JSON, or else text."""
        request = urllib.request.Request(self.url + path)
        if key or self.key:
            request.add_header("Authorization", f"Bearer {key or self.key}")
        with _DIRECT.open(request, timeout=30) as response:
            return json.loads(response.read())

    def complete(self) -> Any:
        """One completion."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}]}
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions", json.dumps(body).encode()
        )
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        with _DIRECT.open(request, timeout=30) as response:
            return json.loads(response.read())

    def told(self, path: str) -> str:
        """The same as text; also where it is a refusal."""
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with _DIRECT.open(request, timeout=30) as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as a service manager does."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DidNotRun(f"the server did not end after {PATIENCE_SECONDS} s") from None


def environment(**more: str) -> dict[str, str]:
    """Ours, but no proxy stands between programs on this machine."""
    return os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | more


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def upstream(tokens: int = 64) -> Generator[Serving]:
    """The upstream that costs next to nothing."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "upstream.py"), f"--tokens={tokens}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None, "its output is a pipe"
        yield Serving(process, int(process.stdout.readline()))
        process.kill()


def start(
    models: Sequence[str], data: Path, *arguments: str, key: str = "", port: int | None = None
) -> Serving:
    """`chogori serve`, ready to answer; `models` as its `--model` takes them."""
    port = port or free_port()
    command = [str(CHOGORI), "serve", f"--port={port}", f"--data={data}", *arguments]
    for model in models:
        command += ["--model", model]
    began = time.perf_counter()
    with (data.parent / f"{data.name}.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    serving = Serving(process, port, key, began)
    wait_for(serving, "/healthz", data.parent / f"{data.name}.log")
    return serving


@contextlib.contextmanager
def chogori(
    models: Sequence[str], data: Path, *arguments: str, key: str = ""
) -> Generator[Serving]:
    """The same, and its end."""
    serving = start(models, data, *arguments, key=key)
    try:
        yield serving
    finally:
        if serving.process.poll() is None:
            serving.stop()


def wait_for(serving: Serving, path: str, log: Path | None = None) -> None:
    """Until it answers. Raises `DidNotRun`."""
    until = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < until:
        if serving.process.poll() is not None:
            told = log.read_text(errors="replace")[-2000:] if log else ""
            raise DidNotRun(f"the server ended with {serving.process.returncode}: {told}")
        try:
            serving.get(path)
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.005)
    serving.kill()
    raise DidNotRun(f"the server did not answer {path} within {PATIENCE_SECONDS} s")


def set_up(data: Path, limits: Limits = WIDE, *, microdollars: int = 10**12) -> str:
    """A data folder with a key, limits at all three levels, and money; the key."""
    return asyncio.run(_set_up(data, limits, microdollars))


async def _set_up(data: Path, limits: Limits, microdollars: int) -> str:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with open_administration(data) as administration:
        made = await administration.create_key(Grant(scopes=SCOPES), limits)
        for subject in (Subject("project", "default/default"), Subject("organisation", "default")):
            await administration.set_limits(subject, limits)
        await administration.top_up("default", microdollars, "for the measures")
    return made.text


def load(serving: Serving, connections: int, seconds: float, *, stream: bool) -> dict[str, Any]:
    """What `load.py` sees of a server. Raises `DidNotRun` where a request failed."""
    arguments = [str(serving.port), f"--key={serving.key}", f"--connections={connections}"]
    arguments += [f"--seconds={seconds}", f"--model={MODEL}", *(["--stream"] if stream else [])]
    done = subprocess.run(
        [sys.executable, str(HERE / "load.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    if done.returncode:
        raise DidNotRun(done.stderr.strip().splitlines()[-1])
    seen = json.loads(done.stdout)
    if seen["failed"] or not seen["requests"]:
        raise DidNotRun(f"{seen['failed']} of {seen['requests']} failed: {seen['refusal']}")
    return seen


def python_of_peer(name: str, packages: Sequence[str]) -> Path:
    """The interpreter of a peer's own environment, made when it is first needed."""
    folder = PEERS / name
    python, made = folder / "bin" / "python", folder / "made"
    wanted = "\n".join(packages)
    if not made.exists() or made.read_text() != wanted:
        print("installing", *packages, "into", folder, flush=True)
        for install in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *packages],
        ):
            done = subprocess.run(install, capture_output=True, text=True)
            if done.returncode:
                raise DidNotRun(done.stderr.strip()[-500:])
        made.write_text(wanted)
    return python


@contextlib.contextmanager
def litellm(upstream: Serving, folder: Path, packages: Sequence[str]) -> Generator[Serving]:
    """LiteLLM's proxy in front of the upstream: one worker, no database, its lightest mode."""
    python = python_of_peer("litellm", packages)
    config = folder / "litellm.json"  # JSON is YAML
    config.write_text(json.dumps(_litellm_config(upstream)))
    port = free_port()
    arguments = [f"--config={config}", f"--port={port}", "--host=127.0.0.1", "--num_workers=1"]
    log = folder / "litellm.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python.with_name("litellm")), *arguments],
            env=environment(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR"),
            stdout=out,
            stderr=out,
        )
    serving = Serving(process, port, "sk-master-1234")
    try:
        wait_for(serving, "/health/liveliness", log)
        yield serving
    finally:
        if process.poll() is None:
            serving.kill()


def _litellm_config(upstream: Serving) -> Mapping[str, Any]:
    parameters = {
        "model": f"openai/{MODEL}",
        "api_base": f"{upstream.url}/v1",
        "api_key": "sk-mock",
    }
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": "sk-master-1234"},
    }
