"""The TypeScript client: its own tests, by vitest, against the server for everybody."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "clients/typescript"
NPM = shutil.which("npm")

pytestmark = pytest.mark.skipif(
    NPM is None or not (FOLDER / "dist").is_dir(), reason="needs Node 20 or newer with npm, and what `make ts` builds"
)


def npm(*arguments: str, **environment: str) -> str:
    """Runs npm in the package; what it printed."""
    assert NPM is not None
    done = subprocess.run(
        [NPM, *arguments], cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests(url: str) -> None:
    said = npm("test", VSSM_TEST_URL=url, NO_COLOR="1")
    assert "passed" in said
