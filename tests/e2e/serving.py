"""A `vssm-server serve` in a process of its own, and what tests do to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx
import psutil

T = TypeVar("T")


class Serve:
    """Starts on a free port; keeps its state in `folder`, so that it can be started again."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = {"threads": 1, "port": 0, "state_dir": folder / "state", **settings}
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=60)

    def start(self) -> "Serve":
        """Starts it and waits until it is ready; ended when it is not in time."""
        with open(self.folder / "log", "ab") as log:
            mark = log.tell()
            self.process = self.launch("serve", log)
        try:
            self.client.base_url = httpx.URL(until(lambda: self._address(mark)))
            until(self.ready)
        except BaseException:
            if self.process.poll() is None:
                self.kill()
            raise
        return self

    def beside(self, module: str = "vssm_server", **settings: object) -> "Serve":
        """Another API process on the same Redis and workers, with settings of its own; `module` is run as program."""
        chosen = {**self.settings, "redis_url": self.redis_url, "port": free_port(), **settings}
        folder = self.folder / f"beside-{chosen['port']}"
        folder.mkdir()
        other = Serve(folder, **chosen)
        with open(folder / "log", "ab") as log:
            other.process = other.launch("api", log, module)
        other.client.base_url = httpx.URL(f"http://127.0.0.1:{chosen['port']}")
        return other

    @property
    def redis_url(self) -> str:
        """Of its embedded Redis."""
        return f"unix://{self.folder}/state/redis.sock"

    def launch(self, part: str, output: "int | IO[bytes]", module: str = "vssm_server") -> "subprocess.Popen[bytes]":
        """Starts a part with these settings and no others."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VSSM_")}
        chosen = {f"VSSM_{name.upper()}": str(value) for name, value in self.settings.items()}
        command = [sys.executable, "-m", module, part]
        return subprocess.Popen(command, env=clean | chosen, stdout=output, stderr=output)

    def _address(self, mark: int) -> str:
        assert self.process is not None
        text = (self.folder / "log").read_text()[mark:]
        assert self.process.poll() is None, text
        words = [word for word in text.split() if word.startswith("http://127.0.0.1:")]
        return words[0] if words else ""

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self._answers("/readyz")

    def alive(self) -> bool:
        """Whether /livez says so."""
        return self._answers("/livez")

    def _answers(self, path: str) -> bool:
        try:
            return self.client.get(path, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """kill -9; returns when it and all its children are gone."""
        assert self.process is not None
        family = self.children()
        self.process.kill()
        self.process.wait()
        assert not psutil.wait_procs(family, timeout=5)[1]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.client.close()
        return code

    def children(self) -> list[psutil.Process]:
        """Everything it has started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, word: str) -> psutil.Process:
        """The child with that argument, or program, in its command line."""
        return next(child for child in self.children() if word in _words(child))

    def generate(self, **body: object) -> dict[str, Any]:
        """POST /generate that must succeed."""
        response = self.client.post("/generate", json=body)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result

    def stream(self, **body: object) -> list[tuple[str, dict[str, Any]]]:
        """The events of a stream, and their data."""
        with self.client.stream("POST", "/generate", json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            return list(parse(response.read().decode()))

    def metric(self, name: str) -> float:
        """Sum over the labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as (event, data)."""
    events = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


def values(result: dict[str, Any]) -> list[Any]:
    """Values of all samples."""
    return [output["values"] for output in result["outputs"]]


def joined(parts: list[list[Any]]) -> list[Any]:
    """Consecutive parts of all samples as one."""
    return [list(chain.from_iterable(rows)) for rows in zip(*parts, strict=True)]


def streamed(events: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Values of all samples of a stream that ended well."""
    assert events[-1][0] == "done", events[-1]
    return joined([values(data) for name, data in events if name == "chunk"])


def until(condition: Callable[[], T | None], seconds: float = 60) -> T:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return value


def free_port() -> int:
    """Of this machine, at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _words(process: psutil.Process) -> set[str]:
    """Names in a command line; valkey-server writes its address behind its own."""
    return {Path(part.split(" ")[0]).name for part in process.cmdline() if part}
