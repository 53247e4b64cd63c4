"""The service that is tried: API, worker and Redis in processes of their own, with keys and short times to live."""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from vssm_server.keyring import Document, Scope, make
from vssm_server.quotas import Quotas

from tests.chaos.cluster import Cluster, Node, local_cluster
from tests.server.models import save_all

ROOT = Path(__file__).parents[2]
KINDS = ("pixels", "image", "series", "text")  # and the shipped mnist
DEADLINE_SECONDS = 20
TIMES = {"DEADLINE_SECONDS": str(DEADLINE_SECONDS), "DEFAULT_TTL_SECONDS": "20", "IDEMPOTENCY_SECONDS": "10"}
SCOPES: dict[str, tuple[Scope, ...]] = {"alice": ("generate", "sessions"), "bob": ("admin",), "watcher": ("metrics",)}
START_SECONDS = 120.0


@dataclass(frozen=True)
class Target:
    """What is tried: ids of the processes, and how they are reached."""

    port: int
    api: int
    worker: int
    redis_url: str
    keys: tuple[str, str] | None  # of two clients; None where no keys are wanted
    watcher: str | None  # a key for /metrics
    models: tuple[str, ...] = (*KINDS, "mnist")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; the connection is closed then."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if self.watcher:
            request.add_header("Authorization", f"Bearer {self.watcher}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()

    def metric(self, name: str) -> float:
        """Sum over the labels."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def make_keys() -> tuple[str, dict[str, str]]:
    """A document for VSSM_API_KEYS, and the key of each name; nothing is refused for its amount."""
    free = Quotas(concurrent_requests=0, open_streams=0, stored_sessions=0, stored_bytes=0)
    made = {name: make(name, scopes, None, free) for name, scopes in SCOPES.items()}
    document = msgspec.json.encode(Document(tuple(key for key, _ in made.values()))).decode()
    return document, {name: text for name, (_, text) in made.items()}


@contextmanager
def running(folder: Path, api_module: str = "vssm_server", **api_settings: str) -> Iterator[Target]:
    """The service while this is open; `api_module` is the program of the API."""
    models = [str(path) for path in save_all(folder) if path.name in KINDS]
    document, texts = make_keys()
    settings = TIMES | {"API_KEYS": document} | api_settings
    cluster = local_cluster(folder, ",".join([*models, "mnist"]), "everysec", 1, 1, settings)
    cluster.apis[0].command = [sys.executable, "-m", api_module, "api"]
    cluster.apis[0].environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with cluster:
        port = int(cluster.api_urls[0].rpartition(":")[2])
        target = Target(
            port, _pid(cluster.apis[0]), _pid(cluster.workers[0]), cluster.redis_url, _two(texts), texts["watcher"]
        )
        _wait(target, cluster)
        yield target
        for node in [*cluster.apis, *cluster.workers]:
            node.end(signal.SIGTERM)


def _two(texts: dict[str, str]) -> tuple[str, str]:
    return texts["alice"], texts["bob"]


def _pid(node: Node) -> int:
    assert node.process is not None
    return node.process.pid


def _wait(target: Target, cluster: Cluster) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        ended = [node.name for node in cluster.nodes if node.process is not None and node.process.poll() is not None]
        if ended:
            raise RuntimeError(f"{ended[0]} ended: {cluster.apis[0].log.read_text()[-2000:]}")
        try:
            if json.loads(target.get("/readyz")[1])["status"] == "ready":
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the service is not ready")
