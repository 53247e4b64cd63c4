"""The compiled kernels one by one, beside what they could be: the library's product, a copy, the sum of their products.

    python -m benchmarks.kernels            prints a table, writes benchmarks/results/kernels.json

One thread; the variants of a line take turns, medians. Knows nothing of whole models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vssm.compiled import kernels
from vssm.compiled.networks import pack_block, pack_linear
from vssm.noise import Counters, draw_reference
from vssm.ssm import Block

RESULTS = Path(__file__).parent / "results" / "kernels.json"
ROWS, TURNS = 1920, 31
Row = dict[str, Any]


def in_turns(jobs: dict[str, Callable[[], object]], turns: int = TURNS) -> dict[str, float]:
    """Median seconds of each job."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 2):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn >= 2:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def products(peak: float) -> list[Row]:
    """The register tiles beside torch's product, both with a preallocated result."""
    rows = []
    for inputs, outputs in ((128, 128), (160, 160), (160, 320), (256, 256), (512, 512)):
        module = torch.nn.Linear(inputs, outputs).requires_grad_(False)
        x, out, layer = torch.randn(ROWS, inputs), torch.empty(ROWS, outputs), pack_linear(module)
        mine, given = np.empty((ROWS, outputs), np.float32), x.numpy()
        times = in_turns(
            {
                "tiles": lambda a=given, b=layer, c=mine: kernels.linear(0, ROWS, a, b, c),  # type: ignore[misc]
                "torch": lambda m=module, a=x, c=out: torch.addmm(m.bias, a, m.weight.t(), out=c),  # type: ignore[misc]
            }
        )
        flops = 2 * ROWS * inputs * outputs
        rows.append(
            {
                "rows x inputs x outputs": f"{ROWS} x {inputs} x {outputs}",
                **{f"{name}, GFLOP/s": flops / seconds / 1e9 for name, seconds in times.items()},
                "tiles / peak": flops / times["tiles"] / peak,
            }
        )
    return rows


def blocks(peak: float) -> list[Row]:
    """A whole block of an SSM beside the time of its products at the peak."""
    rows = []
    for width, size in ((128, 64), (160, 80), (256, 128)):
        layer = pack_block(Block(width, size).requires_grad_(False))
        x, state, kept = np.ones((ROWS, width), np.float32), np.zeros((60, 1, 2 * size), np.float32), np.full(60, 31)
        seconds = in_turns(
            {"block": lambda a=x, b=layer, c=state, d=kept: kernels.block(0, ROWS, a, 32, b, 0, c, d)}  # type: ignore[misc]
        )["block"]
        flops = 2 * (4 * width * size + 2 * width * width)
        share = ROWS * flops / peak / seconds
        rows.append({"width, states": f"{width}, {size}", "us a step": 1e6 * seconds / ROWS, "products / all": share})
    return rows


def noise() -> list[Row]:
    """Random numbers beside the torch reference that has the same bits."""
    zeros = torch.zeros(60, dtype=torch.int64)
    counters, rows = Counters(zeros, torch.arange(60), zeros), []
    for kind in ("normal", "logistic", "gumbel"):
        times = in_turns(
            {
                "compiled": lambda k=kind: counters.draw(k, 0, 32, 16),  # type: ignore[misc]
                "reference": lambda k=kind: draw_reference(counters, k, 0, 32, 16),  # type: ignore[misc]
            }
        )
        rows.append({"kind": kind, **{f"{k}, ns a number": 1e9 * v / (60 * 32 * 16) for k, v in times.items()}})
    return rows


def matmul_peak() -> float:
    """Floating-point operations a second of torch's product of large matrices."""
    a, b, out = torch.randn(2048, 1024), torch.randn(1024, 1024), torch.empty(2048, 1024)
    return 2 * 2048 * 1024 * 1024 / in_turns({"mm": lambda: torch.mm(a, b, out=out)})["mm"]


def show(title: str, rows: list[Row]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:,.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=120).print(table)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    peak = matmul_peak()
    result: dict[str, Any] = {"torch": torch.__version__, "matmul_gflops_per_second": peak / 1e9}
    result |= {"products": products(peak), "blocks": blocks(peak), "noise": noise()}
    for title in ("products", "blocks", "noise"):
        show(title, result[title])
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"peak of a large product {peak / 1e9:.1f} GFLOP/s; wrote {RESULTS}")


if __name__ == "__main__":
    main()
