"""Redis, APIs and workers as processes that can be killed, stopped and started again, each on a host of its own."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vssm_server import valkey
from vssm_server.process import spawn
from vssm_server.settings import Settings

from tests.chaos.hosts import HUB, Hosts, on
from tests.e2e.serving import free_port

RESTART_SECONDS = 0.3
STOP_SECONDS = 3.0
SIGNING_KEY = "the same for all processes of the cluster"


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

    def complaints(self) -> list[str]:
        """Whether it ended without being told to, or logged an error."""
        assert self.process is not None
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [f"{self.name} ended by itself: {lines[-3:]}"] if self.process.poll() is not None else []
        return found + [
            f"{self.name}: {line[:80]} ... {line[-160:]}" for line in lines if "Traceback" in line or '"ERROR"' in line
        ]

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
    """Nodes that run while this is open, and the faults they meet."""

    def __init__(self, redis: Node, redis_url: str, apis: dict[str, Node], workers: list[Node]) -> None:
        self.redis = redis
        self.redis_url = redis_url
        self.apis = list(apis.values())
        self.api_urls = list(apis)
        self.workers = workers

    @property
    def nodes(self) -> list[Node]:
        """All processes."""
        return [self.redis, *self.apis, *self.workers]

    def __enter__(self) -> "Cluster":
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in [*self.apis, *self.workers, self.redis]:
            node.end(signal.SIGKILL)

    async def harass(
        self,
        enough: asyncio.Event,
        done: asyncio.Event,
        faults: int,
        every_seconds: float,
        numbers: Sequence[signal.Signals],
        victims: Sequence[str],
        seed: int,
    ) -> None:
        """Until `done`: every so often one of the victims gets one of the signals. Returns when all are back.

        Sets `enough` when there were that many faults.
        """
        rng = random.Random(seed)
        nodes = [node for node in self.nodes if node.name.split("-")[0] in victims]
        under_way: dict[str, asyncio.Task[None]] = {}
        while not await _within(done.wait(), every_seconds):
            if sum(sum(node.faults.values()) for node in nodes) >= faults:
                enough.set()
            node, number = rng.choice(nodes), rng.choice(numbers)
            if node.name not in under_way or under_way[node.name].done():
                under_way[node.name] = asyncio.create_task(node.fault(number))
        await asyncio.gather(*under_way.values())

    async def roll(self, pause_seconds: float) -> None:
        """Restarts every process once, one after the other, as an operator would."""
        for node in self.nodes:
            await node.fault(signal.SIGTERM)
            await asyncio.sleep(pause_seconds)


def local_cluster(
    folder: Path,
    models: str,
    appendfsync: str,
    apis: int = 2,
    workers: int = 2,
    api_settings: Mapping[str, str] | None = None,
    **worker_settings: str,
) -> Cluster:
    """All on this machine, Redis on a unix socket."""
    state = Settings.model_validate({"state_dir": folder / "redis", "appendfsync": appendfsync})
    (folder / "redis").mkdir()
    url = f"unix://{valkey.socket_path(state.state_folder())}"
    ports = [free_port() for _ in range(apis)]
    return Cluster(
        _node(folder, "redis", valkey.command(state), {}),
        url,
        {
            f"http://127.0.0.1:{port}": part(folder, f"api-{number}", url, {"PORT": str(port), **(api_settings or {})})
            for number, port in enumerate(ports)
        },
        [part(folder, f"worker-{number}", url, {"MODELS": models} | worker_settings) for number in range(workers)],
    )


def remote_cluster(folder: Path, models: str, hosts: Hosts, password: str) -> Cluster:
    """Redis and API on the hub, each worker on a host of its own; they share nothing but the network."""
    state = Settings.model_validate({"state_dir": folder / "redis", "appendfsync": "always"})
    (folder / "redis").mkdir()
    network = ["--port", "6379", "--bind", "0.0.0.0", "--requirepass", password]
    api_settings = {"PORT": "8000", "HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "true"}
    return Cluster(
        _node(folder, "redis", [*valkey.command(state), *network], {}, on(HUB)),
        _url(hosts.hub_address, password),
        {f"http://{hosts.hub_address}:8000": part(folder, "api-0", _url("127.0.0.1", password), api_settings, on(HUB))},
        [
            part(folder, f"worker-{i}", _url(hosts.hub_address_of(i), password), {"MODELS": models}, on(name))
            for i, name in enumerate(hosts.names)
        ],
    )


def _url(host: str, password: str) -> str:
    return f"redis://:{password}@{host}:6379/0"


def part(folder: Path, name: str, redis_url: str, settings: dict[str, str], host: Sequence[str] = ()) -> Node:
    """An API or a worker."""
    common = {"REDIS_URL": redis_url, "DEADLINE_SECONDS": "30", "LOG_FORMAT": "json", "THREADS": "1"}
    common["SIGNING_KEY"] = SIGNING_KEY
    command = [sys.executable, "-m", "vssm_server", name.split("-")[0]]
    return _node(folder, name, command, common | settings, host)


def _node(folder: Path, name: str, command: Sequence[str], settings: dict[str, str], host: Sequence[str] = ()) -> Node:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VSSM_")}
    environment = clean | {f"VSSM_{key}": value for key, value in settings.items()}
    return Node(name, command, environment, folder / f"{name}.log", host)


async def _within(work: Awaitable[object], seconds: float) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True
