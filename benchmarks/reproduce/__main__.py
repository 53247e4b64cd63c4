"""Train, measure and time everything; write docs/results.md, its pictures and benchmarks/results/reproduce-cpu.json.

    python -m benchmarks.reproduce                    two cores: about 50 minutes
    python -m benchmarks.reproduce --device cuda      writes docs/results-gpu.md
    python -m benchmarks.reproduce --scale 0.01 --out /tmp/rehearsal --docs /tmp/rehearsal

It can be stopped at any moment; the same command goes on. What is trained stays in runs/reproduce.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.reproduce.measure import Settings
from benchmarks.reproduce.pictures import curves, samples
from benchmarks.reproduce.plan import TASKS, Device, Experiment, experiments
from benchmarks.reproduce.report import results
from benchmarks.reproduce.run import run
from vssm.data import DataError
from vssm.training.errors import TrainingError

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Exits non-zero when something failed, or the device is not there."""
    options = _options()
    if options.device == "cuda" and not options.trained_on and not torch.cuda.is_available():
        sys.exit("error: no CUDA device: PyTorch finds none on this machine, so nothing was trained")
    if options.restart:
        shutil.rmtree(options.out, ignore_errors=True)
    planned = [e for e in experiments(options.device, options.scale) if e.task in options.tasks]
    settings = _settings(options)
    console = Console(stderr=True, width=120)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what runs saves its state
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        timings, trained = not options.no_timings, options.trained_on is not None
        found = run(planned, options.out, settings, options.processes, console, timings, trained)
    except (TrainingError, DataError, KeyboardInterrupt) as error:
        sys.exit(f"stopped: {str(error) or 'interrupted'}; the same command goes on from here")
    _write(found, planned, settings, options)
    console.print(f"{(time.monotonic() - began) / 60:.0f} minutes in all", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--scale", type=float, default=1.0, help="shorten every training, for a rehearsal")
    parser.add_argument("--processes", type=int, help="at a time; one per core by default, one on a CUDA device")
    parser.add_argument("--trained-on", help="measure what was trained elsewhere: the name of that machine or card")
    parser.add_argument("--no-timings", action="store_true", help="leave out how long 64 samples take")
    parser.add_argument("--out", type=Path, help="folder of the trainings, runs/reproduce by default")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the page and its pictures")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures as JSON")
    parser.add_argument("--restart", action="store_true", help="discard what is trained and measured")
    options = parser.parse_args()
    options.processes = options.processes or (1 if options.device == "cuda" else os.cpu_count() or 1)
    options.out = options.out or Path("runs/reproduce" if options.device == "cpu" else "runs/reproduce-gpu")
    return options


def _settings(options: argparse.Namespace) -> Settings:
    """Those of a rehearsal are smaller."""
    here: Device = "cuda" if options.device == "cuda" and torch.cuda.is_available() else "cpu"
    settings = Settings(device=here)
    if here == "cuda":  # which looks at more in the same time
        settings = replace(settings, examples=tuple((task, 2000) for task, _ in settings.examples))
    if options.scale >= 1:
        return settings
    few = tuple((task, 20) for task, _ in settings.examples)
    return replace(settings, examples=few, num_importance_samples=4, samples=100, continued=10)


def _write(
    found: dict[str, object], planned: list[Experiment], settings: Settings, options: argparse.Namespace
) -> None:
    name = "results" if options.device == "cpu" else "results-gpu"
    pictures = options.docs / name
    pictures.mkdir(parents=True, exist_ok=True)
    rows = found["rows"]
    assert isinstance(rows, list)
    (pictures / "curves.png").write_bytes(curves(rows))
    for task in {row["task"] for row in rows if "quality" in row}:
        (pictures / f"{task}.png").write_bytes(samples(task, planned, options.out))
    found |= {"device": options.device, "trained_on": options.trained_on}
    (options.docs / f"{name}.md").write_text(results(found, settings, _command(options), name))
    kept = [{key: value for key, value in row.items() if key not in ("records", "text")} for row in rows]
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"reproduce-{options.device}.json"
    path.write_text(json.dumps({**found, "rows": kept}, indent=1) + "\n")


def _command(options: argparse.Namespace) -> str:
    """What makes the same figures."""
    changes = [] if options.tasks == list(TASKS) else ["--tasks", *options.tasks]
    changes += ["--no-timings"] if options.no_timings else []
    changes += ["--trained-on", f'"{options.trained_on}"'] if options.trained_on else []
    if not changes:
        return "make reproduce" if options.device == "cpu" else "make reproduce-gpu"
    return " ".join(["python -m benchmarks.reproduce --device", options.device, *changes])


if __name__ == "__main__":
    main()
