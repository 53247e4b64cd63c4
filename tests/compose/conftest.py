"""`make compose-test` sets COMPOSE_TEST; without it, these tests are not collected, for they need Docker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import vssm
from tests.compose.monitoring import Prometheus
from tests.compose.stack import Stack
from tests.server.models import build

collect_ignore_glob = [] if "COMPOSE_TEST" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one checkpoint, readable for everybody as the containers run as another user."""
    folder = tmp_path_factory.mktemp("checkpoints")
    vssm.save(build("text"), folder / "text")
    for path in (folder, folder / "text"):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def stack(checkpoints: Path) -> Iterator[Stack]:
    """Started once for all tests, removed whatever happens."""
    stack = Stack(checkpoints)
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="session")
def prometheus(stack: Stack) -> Iterator[Prometheus]:
    """Runs from its first `up` on; the stack removes it."""
    prometheus = Prometheus(stack)
    yield prometheus
    prometheus.close()
