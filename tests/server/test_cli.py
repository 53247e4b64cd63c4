"""What a person can put right ends with a message and exit code 2; what passes by itself is said once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from vssm_server.cli import app
from vssm_server.connect import connect_async
from vssm_server.hub import Hub
from vssm_server.seal import Seal

NOBODY = "redis://127.0.0.1:1/0"


def fails(*arguments: str, **variables: str) -> str:
    """A command that must fail with a message, which is returned."""
    result = CliRunner().invoke(app, list(arguments), env=variables)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return str(result.stderr)


def test_wrong_settings_are_messages(tmp_path: Path) -> None:
    assert "VSSM_PORT must be a valid integer, not 'abc'" in fails("serve", VSSM_PORT="abc")
    assert "not 'abc'" in fails("serve", VSSM_PORT="abc")
    assert "VSSM_PRT is not a setting; did you mean VSSM_PORT" in fails("serve", VSSM_PRT="1")
    assert "VSSM_REDIS_URL is needed" in fails("api")
    assert "must begin with redis://" in fails("worker", "--redis-url", "http://x")
    (tmp_path / "file").touch()
    assert "Set VSSM_STATE_DIR" in fails("serve", "--port", "0", "--state-dir", str(tmp_path / "file"))


def test_a_port_in_use_is_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in fails("serve", "--port", port)


async def test_an_api_says_once_that_redis_is_away(caplog: pytest.LogCaptureFixture) -> None:
    client = connect_async(NOBODY, 1.0)
    with caplog.at_level(logging.WARNING), contextlib.suppress(TimeoutError):
        await asyncio.wait_for(Hub(client, client, 1, lambda _: 1, Seal(b"")).listen(), 0.7)
    assert sum("replies cannot be read" in record.message for record in caplog.records) == 1
    await client.aclose()


def test_a_worker_says_once_that_it_waits_for_redis() -> None:
    command = [sys.executable, "-m", "vssm_server", "worker", "--redis-url", NOBODY, "--models", "none-such"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        line = next(line for line in worker.stderr if "WARNING" in line)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1)
        worker.terminate()
        rest = worker.stderr.read()
    assert "waiting for Redis: Error 111 connecting to 127.0.0.1:1" in line
    assert "waiting for Redis" not in rest
