"""Every kernel compiles for a Hopper GPU, without one; what must not be fused into multiply-adds is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_kernels_compile(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.vssm.cuda.hopper"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(figures) == 30
    for kernel in figures:
        if kernel["kernel"].startswith(("recurrence", "noise")):
            assert (kernel["fused"], kernel["barriers"]) == (0, 0), kernel
        assert kernel["shared_bytes"] <= 227 * 1024, kernel
