"""A real Valkey, emptied for every test."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import torch
from vssm_server import valkey
from vssm_server.connect import connect
from vssm_server.process import spawn
from vssm_server.settings import Settings


def wait_for(client: redis.Redis) -> None:
    """Until it answers."""
    for _ in range(200):
        try:
            client.ping()
            return
        except redis.RedisError:
            time.sleep(0.05)
    raise TimeoutError("valkey-server does not answer")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small models gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an embedded Redis."""
    folder: Path = tmp_path_factory.mktemp("redis")
    process = spawn(valkey.command(Settings(state_dir=folder)), os.environ)
    url = f"unix://{valkey.socket_path(folder)}"
    client = connect(url)
    wait_for(client)
    client.close()
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    """An empty Redis."""
    client = connect(valkey_url)
    client.flushall()
    yield client
    client.close()
