"""The examples of the READMEs, run against a server with the shipped model."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Serve

ROOT = Path(__file__).parents[2]
PACKAGE = (ROOT / "clients/python/README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PACKAGE + (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python" and "vssm_client" in text]
SHELL = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("vssm-client ")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Serve(tmp_path_factory.mktemp("readme")).start()
    yield str(server.client.base_url)
    assert server.stop() == 0


def check(command: list[str], folder: Path, **more: str) -> str:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "clients/python")))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 7
    assert len(SHELL) >= 5


@pytest.mark.parametrize("code", PYTHON)
def test_python(address: str, tmp_path: Path, code: str) -> None:
    assert "http://127.0.0.1:8000" in code
    check([sys.executable, "-c", code.replace("http://127.0.0.1:8000", address)], tmp_path)


def test_shell(address: str, tmp_path: Path) -> None:
    for line in SHELL:
        assert check([sys.executable, "-m", "vssm_client", *shlex.split(line)[1:]], tmp_path, VSSM_URL=address)
    assert {path.name for path in tmp_path.iterdir()} == {"digits.png", "half.json", "half.npy"}
