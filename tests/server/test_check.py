"""`vssm-server check` finds what is wrong, says what to do, and exits accordingly."""

import io
import socket
from pathlib import Path

import pytest
import redis
from rich.console import Console
from typer.testing import CliRunner
from vssm_server.check.report import report
from vssm_server.cli import app
from vssm_server.settings import Settings

from tests.server.models import build, exploding
from vssm import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good checkpoint, one cut short, one that makes NaN."""
    folder = tmp_path_factory.mktemp("check")
    for name, model in (("pixels", build("pixels")), ("cut", build("pixels")), ("exploding", exploding())):
        save(model, folder / name)
    weights = folder / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    return folder


def check(**settings: object) -> tuple[bool, str]:
    """Whether all is well, and the report."""
    out = io.StringIO()
    return report(Settings.model_validate(settings), Console(file=out, width=300)), out.getvalue()


def test_all_is_well(folder: Path, valkey_url: str) -> None:
    well, said = check(models=str(folder / "pixels"), port=0, redis_url=valkey_url)
    assert well, said
    assert "pixels: 0.00 M parameters, 8 steps" in said
    assert "resumed alike" in said
    assert "wrong" not in said.replace("nothing is wrong", "")


def test_everything_is_wrong(folder: Path) -> None:
    models = ",".join(str(folder / name) for name in ("pixels", "cut", "exploding"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        well, said = check(models=models, port=port, redis_url="redis://:secret@127.0.0.1:1/0", default_model="other")
    assert not well
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "does not answer" in said
    assert "correct VSSM_REDIS_URL" in said
    assert "cut: " in said
    assert "exploding: generation failed: the model made NaN or infinity" in said
    assert "set VSSM_DEFAULT_MODEL to one of exploding, pixels" in said
    assert "4 wrong" in said
    assert "secret" not in said


def test_a_device_that_is_not_there(folder: Path, valkey_url: str) -> None:
    well, said = check(models=str(folder / "pixels"), port=0, redis_url=valkey_url, device="cuda:77")
    assert not well
    assert "cuda:77 cannot be used" in said
    assert "VSSM_DEVICE is cpu or cuda:0" in said


def test_a_redis_that_forgets(folder: Path, valkey_url: str, client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    try:
        well, said = check(models=str(folder / "pixels"), port=0, redis_url=valkey_url)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
    assert not well
    assert "set maxmemory-policy noeviction" in said
    assert "set appendonly yes" in said


def test_its_own_redis_and_a_collector_that_is_away(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    well, said = check(models=str(folder / "pixels"), port=0, state_dir=tmp_path / "state")
    assert well, said
    assert "embedded: Valkey" in said
    assert "nobody takes them at http://127.0.0.1:1" in said


@pytest.mark.parametrize(("name", "status"), [("pixels", 0), ("cut", 1)])
def test_exit_status(folder: Path, valkey_url: str, name: str, status: int) -> None:
    flags = ["--models", str(folder / name), "--port", "0", "--redis-url", valkey_url]
    result = CliRunner().invoke(app, ["check", *flags])
    assert result.exit_code == status, result.output
