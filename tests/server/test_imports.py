"""The API process stays small: no torch, no model library."""

import subprocess
import sys

CODE = """
import sys
from vssm_server.api.serve import run_api
from vssm_server.cli import app
print(sorted(name for name in ("torch", "vssm", "numba", "huggingface_hub") if name in sys.modules))
"""


def test_the_api_imports_no_torch() -> None:
    answer = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
