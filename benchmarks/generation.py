"""What generation costs: whole passes, prefixes and resumes, beside the machine's own matrix product.

Writes benchmarks/results/generation.json. Everything is timed in one run; every figure is the median of repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import vssm
from benchmarks.machine import machine
from vssm import VSSM, Window

RESULTS = Path(__file__).parent / "results" / "generation.json"


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """Median wall time of `run` in milliseconds, after one call to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def generated_flops(model: VSSM) -> int:
    """Operations of the matrix products of one generated step of one sequence: 2 for every weight that is used."""
    used = [level.inject for level in model.levels]
    weights = [m.weight for m in used] + [p for p in model.observation.parameters() if p.dim() == 2]
    for level in model.levels:
        weights += [p for p in level.stack.parameters() if p.dim() == 2]
        prior = getattr(level.latent, "prior_net", None)
        weights += [] if prior is None else [p for p in prior.parameters() if p.dim() == 2]
    return sum(2 * w.numel() for w in weights)


def matmul_flops_per_second(rows: int = 2048, size: int = 512) -> float:
    """Peak of the machine's float32 matrix product, measured now."""
    a, b = torch.randn(rows, size), torch.randn(size, size)
    return 2 * rows * size * size / (median_ms(lambda: torch.mm(a, b), 15) / 1e3)


def whole_passes(model: VSSM, peak: float) -> list[dict[str, Any]]:
    """Whole sequences of the model's own length, in one pass."""
    rows = []
    length = model.config.length
    for samples in (1, 8, 64, 512):
        ms = median_ms(lambda n=samples: model.generate(num_samples=n, length=length), 9)  # type: ignore[misc]
        ideal = samples * length * generated_flops(model) / peak * 1e3
        rows.append({"samples": samples, "ms": ms, "sequences_per_second": 1e3 * samples / ms, "of_peak": ideal / ms})
    return rows


def resumes(model: VSSM) -> list[dict[str, Any]]:
    """One more sequence length after ever more steps; the state has one size, so the cost should be one cost."""
    start = model.start(1, 0)
    runs: dict[int, list[float]] = {}
    for _ in range(9):
        for steps in (1_000, 100_000, 1_000_000):
            window = Window(replace(start, position=steps), model.config.length)
            runs.setdefault(steps, []).append(median_ms(lambda w=window: model.advance([w]), 3))  # type: ignore[misc]
    return [{"after_steps": k, "ms": statistics.median(v)} for k, v in runs.items()]


def prefixes(model: VSSM) -> list[dict[str, Any]]:
    """Observing a prefix of n steps with one sample."""
    rows = []
    for steps in (14, 100, 1_000, 10_000):
        observed = np.zeros((steps, model.config.size), np.uint8)
        ms = median_ms(lambda x=observed: model.condition(x), 5)  # type: ignore[misc]
        rows.append({"prefix_steps": steps, "ms": ms})
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:,.2f}" if isinstance(v, float) else f"{v:,}" for v in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = vssm.load(arguments.model)
    peak = matmul_flops_per_second()
    result: dict[str, Any] = {
        "machine": machine(),
        "matmul_gflops_per_second": peak / 1e9,
        "gflops_per_sequence": model.config.length * generated_flops(model) / 1e9,
        "state_bytes_per_sample": model.info()["state_bytes"],
        "whole": whole_passes(model, peak),
        "resume": resumes(model),
        "prefix": prefixes(model),
    }
    for title in ("whole", "resume", "prefix"):
        show(title, result[title])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
