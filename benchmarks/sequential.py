"""Exact mode beside its own sequential sampler: eager steps, compiled steps (graphs on CUDA), and windows of one step.

    python -m benchmarks.sequential mnist-exact     into benchmarks/results/sequential-mnist-exact.json

All ways are timed in turns, in one run; what counts are the ratios. The share of values that are the same says that it
is the same sampler: the sums of compiled steps are in another order, so that a bit may differ where a probability is
that near to the noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from vssm import VSSM
from vssm.baselines import load_any
from vssm.baselines.generate import generate
from vssm.baselines.sequential import Sequential
from vssm.baselines.stepping import Way, choose

RESULTS = Path(__file__).parent / "results"
Values = np.ndarray[Any, Any]


def ways(model: VSSM, samples: int) -> dict[str, Callable[[int], Values]]:
    """Functions of a seed, by name; the first is what the others are compared with."""
    rival = Sequential(model)

    def steps(way: Way) -> Callable[[int], Values]:
        return lambda seed: generate(rival, samples, None, seed, None, 1.0, None, way).values

    return {
        "passes": lambda seed: model.generate(num_samples=samples, seed=seed).values,
        f"steps, {choose(rival)}": steps("auto"),
        "steps, eager": steps("eager"),
    }


def measure(model: VSSM, samples: int, turns: int) -> dict[str, Any]:
    """Best seconds of each way, and how far the values agree."""
    functions = ways(model, samples)
    first = {name: function(0) for name, function in functions.items()}  # compiles
    best = dict.fromkeys(functions, np.inf)
    for seed in range(turns):
        for name, function in functions.items():
            began = time.perf_counter()
            function(seed)
            best[name] = min(best[name], time.perf_counter() - began)
    passes = model.generate(num_samples=samples, seed=0).passes
    assert passes is not None
    return {
        "samples": samples,
        "passes": [float(passes.mean()), int(passes.max())],
        "seconds": best,
        "ratio": {name: seconds / best["passes"] for name, seconds in best.items()},
        "same": {name: float(np.mean(values == first["passes"])) for name, values in first.items()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="mnist-exact")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    model, console = load_any(options.model), Console()
    assert isinstance(model, VSSM)
    rows = [measure(model, samples, options.turns) for samples in options.samples]
    report = {"machine": machine(), "model": options.model, "length": model.config.length, "rows": rows}
    path = RESULTS / f"sequential-{Path(options.model).name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    shown = Table("samples at once", "way", "ms a sample", "times the passes", "same values", title=options.model)
    for row in rows:
        for name, seconds in row["seconds"].items():
            each = f"{1e3 * seconds / row['samples']:.2f}"
            shown.add_row(str(row["samples"]), name, each, f"{row['ratio'][name]:.1f}", f"{row['same'][name]:.6f}")
    console.print(shown)
    console.print(f"{torch.get_num_threads()} threads; wrote {path}")


if __name__ == "__main__":
    main()
