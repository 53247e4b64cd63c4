"""The whole service on one machine: which processes `serve` runs, and what it says when they are ready."""

import json
import os
import socket
import sys
import urllib.error

from rich.console import Console

from vssm_server import valkey
from vssm_server.exposure import has_keys, who_is_served
from vssm_server.health import DIRECT
from vssm_server.settings import Settings
from vssm_server.supervisor import INHERITED_SOCKET, Child, Supervisor

PROBE_SECONDS = 1.0
REQUEST = '{"num_samples": 4, "seed": 7}'
BEARER = "Authorization: Bearer vssm_..."


def serve_locally(settings: Settings, listening: socket.socket, out: Console) -> None:
    """Until it is told to end. Raises StateFolderError."""
    stores: list[Child] = []
    if settings.redis_url is None:
        folder = settings.state_folder()
        descriptor = valkey.lock(folder)
        name = f"redis (it writes to {valkey.log_path(folder)})"
        stores = [Child(name, valkey.command(settings), os.environ, [descriptor])]
        settings = settings.model_copy(update={"redis_url": f"unix://{valkey.socket_path(folder)}"})
    settings = settings.model_copy(update={"threads": threads_of(settings, os.cpu_count() or 1)})
    environment = {**os.environ, **settings.environment()}
    workers = [Child(f"worker {number}", _command("worker"), environment) for number in range(settings.workers)]
    number = listening.fileno()  # shared, so that a restart of the API refuses no connection
    apis = [Child("api", _command("api"), {**environment, INHERITED_SOCKET: str(number)}, [number])]
    address = f"{settings.scheme}://{_shown(settings.host)}:{listening.getsockname()[1]}"
    out.print(f"starting {settings.workers} worker(s) and the API on {address} ...")
    out.print("loading the models: some seconds, and up to a minute or two the first time, when they are compiled")
    supervisor = Supervisor([apis, workers, stores], settings.drain_seconds)
    supervisor.run(lambda: _models(address) is not None, lambda: _announce(address, settings, out))
    out.print("stopped: what was accepted is answered")


def threads_of(settings: Settings, cores: int) -> int:
    """Compute threads of each worker: by default all cores but one, shared among the workers; 1 at least.

    API and Redis need a core while requests are many, and threads that wait for each other suffer most without it.
    """
    return settings.threads or max(1, (cores - 1) // settings.workers)


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "vssm_server", name]


def _shown(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _models(address: str) -> list[str] | None:
    """What is served; None while it is not ready."""
    try:
        with DIRECT.open(f"{address}/readyz", timeout=PROBE_SECONDS) as response:
            models: list[str] = json.load(response)["models"]
            return models
    except (urllib.error.URLError, OSError):
        return None


def _announce(address: str, settings: Settings, out: Console) -> None:
    if served := _models(address):
        key = f"-H '{BEARER}' " if has_keys(settings) else ""
        out.print(f"ready: {address}   (a playground; documentation and trying out: {address}/docs)")
        out.print(f"serves {', '.join(served)}")
        out.print(f"try:   curl {key}--json '{REQUEST}' {address}/generate")
    else:
        out.print(
            f"up, but useless: {address} serves no model; the lines above say why (vssm-server check, with advice)"
        )
    out.print(who_is_served(settings))
    out.print("end:   Ctrl-C")
