"""Measure, print, write benchmarks/results/speed-cpu.json and .png (speed-gpu on CUDA).

python -m benchmarks.speed                  all cores, about ten minutes
python -m benchmarks.speed --device cuda
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.models import PIXELS_1M
from benchmarks.speed.contenders import NAMES, contender
from benchmarks.speed.plot import plot
from benchmarks.speed.report import show
from benchmarks.speed.run import Plan, run

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Exits non-zero when the device is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, default=10.0, help="about how long it may take")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--samples", type=int, nargs="+", help="numbers of sequences, all of the plan by default")
    parser.add_argument("--lengths", type=int, nargs="+", help="numbers of steps, all of the plan by default")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the folder for the report")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: no CUDA device: PyTorch finds none on this machine, so nothing was measured")
    torch.set_num_threads(options.threads)
    console, began = Console(width=150), time.perf_counter()
    device = torch.device(options.device)
    contenders = [contender(name, PIXELS_1M, device) for name in options.models]
    say = lambda text: console.print(f"[dim]{time.perf_counter() - began:5.0f} s  {text}")  # noqa: E731
    report: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat()}
    report |= run(contenders, device, Plan.within(options.minutes, device).only(options.samples, options.lengths), say)
    report["minutes"] = round((time.perf_counter() - began) / 60, 1)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / ("speed-gpu" if device.type == "cuda" else "speed-cpu")
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    show(report, console)
    plot(report, path.with_suffix(".png"))
    console.print(f"wrote {path}.json and .png in {report['minutes']} minutes")


if __name__ == "__main__":
    main()
