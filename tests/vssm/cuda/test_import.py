"""The CPU path does without Triton; the CUDA path says what is missing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
WITHOUT = "import sys; sys.modules['triton'] = None; "  # which makes its import fail
GENERATE = "import vssm; vssm.load('mnist').generate(num_samples=1, length=2); assert 'vssm.cuda' not in sys.modules"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_generation_on_a_cpu_does_without_triton() -> None:
    done = run(WITHOUT + GENERATE)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_said() -> None:
    done = run(WITHOUT + "import vssm.cuda.networks")
    assert done.returncode != 0
    assert "CUDA tensors need Triton 3.5 or newer" in done.stderr
