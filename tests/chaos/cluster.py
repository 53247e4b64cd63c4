"""Redis, APIs and workers as processes that can be killed, stopped and started again, each on a host of its own."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vssm_server import valkey
from vssm_server.process import spawn
from vssm_server.settings import Settings

RESTART_SECONDS = 0.3
STOP_SECONDS = 3.0


@dataclass
class Node:
    """One process of the service. `host` is a command that runs another on that host."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    host: Sequence[str] = ()
    process: "subprocess.Popen[bytes] | None" = None
    faults: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        """Starts it."""
        command = [*self.host, "sh", "-c", f'exec "$0" "$@" 2>>{self.log}', *self.command]
        self.process = spawn(command, self.environment)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """Ends it by a signal and waits until it has."""
        assert self.process is not None
        self.send(signal.SIGCONT)
        self.send(number)
        self.process.wait(90)

    async def fault(self, number: signal.Signals) -> None:
        """SIGKILL, SIGTERM or SIGSTOP; it comes back."""
        assert self.process is not None
        self.faults[number.name] = self.faults.get(number.name, 0) + 1
        self.send(number)
        if number is signal.SIGSTOP:
            await asyncio.sleep(STOP_SECONDS)
            self.send(signal.SIGCONT)
            return
        while self.process.poll() is None:
            await asyncio.sleep(0.05)
        await asyncio.sleep(RESTART_SECONDS)
        self.start()


class Cluster:
    """One Redis, and APIs and workers that know only its URL."""

    def __init__(self, folder: Path, models: Sequence[Path], appendfsync: str, apis: int = 2, workers: int = 2) -> None:
        self.folder = folder
        state = Settings.model_validate({"state_dir": folder / "redis", "appendfsync": appendfsync})
        state.state_folder().mkdir(parents=True, exist_ok=True)
        self.redis_url = f"unix://{valkey.socket_path(state.state_folder())}"
        self.redis = self._node("redis", valkey.command(state), {})
        self.api_urls: list[str] = []
        self.apis: list[Node] = []
        for number in range(apis):
            port = _free_port()
            self.api_urls.append(f"http://127.0.0.1:{port}")
            self.apis.append(self._part(f"api-{number}", self.redis_url, {"PORT": str(port)}))
        names = ",".join(map(str, models))
        self.workers = [
            self._part(f"worker-{number}", self.redis_url, {"MODELS": names, "THREADS": "1"})
            for number in range(workers)
        ]

    @property
    def nodes(self) -> list[Node]:
        """All processes."""
        return [self.redis, *self.apis, *self.workers]

    def _part(self, name: str, redis_url: str, settings: dict[str, str], host: Sequence[str] = ()) -> Node:
        common = {"REDIS_URL": redis_url, "DEADLINE_SECONDS": "30", "LOG_FORMAT": "json"}
        return self._node(name, [sys.executable, "-m", "vssm_server", name.split("-")[0]], {**common, **settings}, host)

    def _node(self, name: str, command: Sequence[str], settings: dict[str, str], host: Sequence[str] = ()) -> Node:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("VSSM_")}
        return Node(
            name,
            command,
            clean | {f"VSSM_{key}": value for key, value in settings.items()},
            self.folder / f"{name}.log",
            host,
        )

    def __enter__(self) -> "Cluster":
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in [*self.apis, *self.workers, self.redis]:
            node.end(signal.SIGKILL)

    async def harass(
        self, done: asyncio.Event, every_seconds: float, numbers: Sequence[signal.Signals], seed: int
    ) -> None:
        """Until `done`: every so often one random process gets one of the signals. Returns when all are back."""
        rng = random.Random(seed)
        under_way: dict[str, asyncio.Task[None]] = {}
        while not await _within(done.wait(), every_seconds):
            node, number = rng.choice(self.nodes), rng.choice(numbers)
            if node.name not in under_way or under_way[node.name].done():
                under_way[node.name] = asyncio.create_task(node.fault(number))
        await asyncio.gather(*under_way.values())

    async def roll(self, done: asyncio.Event, pause_seconds: float) -> None:
        """Restarts every process once, one after the other, as an operator would; then sets `done`."""
        for node in self.nodes:
            await node.fault(signal.SIGTERM)
            await asyncio.sleep(pause_seconds)
        done.set()


async def _within(work: Awaitable[object], seconds: float) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
