"""The report as one picture of four panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.speed.contenders import NAMES
from benchmarks.speed.targets import seconds

COLOURS = {"vssm": "#4c72b0", "transformer": "#dd8452", "mamba": "#55a868"}
LABELS = {"vssm": "VSSM", "transformer": "Transformer", "mamba": "Mamba"}
LENGTH = 784
Row = dict[str, Any]


def plot(report: Row, path: Path) -> None:
    """Write the picture."""
    names = [name for name in NAMES if name in report["models"]]
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.4), layout="constrained")
    with plt.rc_context({"font.size": 10}):
        _latency(axes[0, 0], report["passes"], names)
        _throughput(axes[0, 1], report["passes"], names)
        _kept(axes[1, 0], report["kept"]["rows"], names)
        _limit(axes[1, 1], report["passes"], names)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    parameters = report["models"]["vssm"]["parameters"] / 1e6
    figure.suptitle(f"Generation, {parameters:.2f} M parameters, {report['machine']['cpu']} ({report['device']})")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _line(axis: Axes, rows: list[Row], name: str, across: str, up: Any) -> None:
    """Measured and extrapolated points on one line; the latter hollow."""
    rows = [row for row in rows if seconds(row, name) is not None]
    x, y = [row[across] for row in rows], [up(row) for row in rows]
    axis.plot(x, y, color=COLOURS[name], label=LABELS[name], linewidth=1.8)
    for a, b, row in zip(x, y, rows, strict=True):
        face = "white" if row[name]["how"] == "extrapolated" else COLOURS[name]
        axis.plot(a, b, "o", color=COLOURS[name], markerfacecolor=face, markersize=6)


def _ticks(axis: Axes, values: list[int]) -> None:
    axis.set_xticks(values, [f"{value:,}" for value in values])
    axis.minorticks_off()
    axis.grid(axis="y", alpha=0.25)


def _latency(axis: Axes, rows: list[Row], names: list[str]) -> None:
    rows = [row for row in rows if row["samples"] == 1]
    for name in names:
        _line(axis, rows, name, "length", lambda row, n=name: 1e3 * row[n]["seconds"])
    axis.set(title="one sequence: milliseconds (hollow: extrapolated)", xscale="log", yscale="log", xlabel="steps")
    _ticks(axis, sorted({row["length"] for row in rows}))
    axis.legend(frameon=False, loc="upper left")


def _throughput(axis: Axes, rows: list[Row], names: list[str]) -> None:
    rows = [row for row in rows if row["length"] == LENGTH]
    for name in names:
        _line(axis, rows, name, "samples", lambda row, n=name: row["samples"] / row[n]["seconds"])
    axis.set(title=f"sequences of {LENGTH} steps per second", xscale="log", yscale="log", xlabel="sequences at once")
    _ticks(axis, sorted({row["samples"] for row in rows}))


def _kept(axis: Axes, rows: list[Row], names: list[str]) -> None:
    for name in names:
        x, y = [row["position"] for row in rows], [row[name] / 1024 for row in rows]
        axis.plot(x, y, "o-", color=COLOURS[name], linewidth=1.8)
    axis.set(title="kept of one sequence: KiB", xscale="log", yscale="log", xlabel="steps so far")
    _ticks(axis, [row["position"] for row in rows])
    axis.set_xticklabels([_short(row["position"]) for row in rows])


def _short(count: int) -> str:
    return f"{count // 10**6} M" if count >= 10**6 else f"{count // 1000} k" if count >= 10_000 else f"{count:,}"


def _limit(axis: Axes, rows: list[Row], names: list[str]) -> None:
    rows = [row for row in rows if row["length"] == LENGTH]
    at, width = np.arange(len(rows)), 0.8 / max(1, len(names))
    for k, name in enumerate(names):
        heights = [row[name].get("of_matmul") or 0.0 for row in rows]
        bars = axis.bar(at + (k - (len(names) - 1) / 2) * width, heights, width * 0.92, color=COLOURS[name])
        axis.bar_label(bars, [f"{h:.2f}" if h else "" for h in heights], fontsize=8, padding=1)
    axis.set(title=f"fraction of the matrix product limit, {LENGTH} steps", xlabel="sequences at once", ylim=(0, 1.05))
    axis.set_xticks(at, [str(row["samples"]) for row in rows])
