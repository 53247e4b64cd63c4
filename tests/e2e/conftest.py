"""One server for the tests that do not harm it, and a way to start others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import Serve, until
from tests.server.models import save_all

CHUNK_STEPS = 128  # many passes, so that a long request lasts although the models are tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The value of VSSM_MODELS."""
    return ",".join(map(str, save_all(tmp_path_factory.mktemp("models"))))


@pytest.fixture(scope="session")
def serve(models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server for everybody."""
    server = Serve(tmp_path_factory.mktemp("serve"), models=models, max_length=100_000, chunk_steps=CHUNK_STEPS).start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def start(models: str, tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    """Starts a server of one's own, with settings."""
    started: list[Serve] = []
    pixels = next(folder for folder in models.split(",") if folder.endswith("/pixels"))

    def begin(**settings: object) -> Serve:
        started.append(Serve(tmp_path, **{"models": pixels, "chunk_steps": CHUNK_STEPS, **settings}).start())
        return started[-1]

    yield begin
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.kill()
        server.client.close()


@pytest.fixture
def beside() -> Iterator[Callable[..., Serve]]:
    """Starts further API processes on the Redis of a server."""
    started: list[Serve] = []

    def begin(server: Serve, **settings: Any) -> Serve:
        started.append(server.beside(**settings))
        until(started[-1].alive)
        return started[-1]

    yield begin
    for api in started:
        assert api.stop() == 0
