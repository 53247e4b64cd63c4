"""The pictures of the report: samples of all families side by side, and validation figures while they were trained."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reproduce.plan import TASKS, Experiment, families
from benchmarks.reproduce.units import unit
from vssm.pictures import grid, side_by_side


def samples(task: str, experiments: list[Experiment], folder: Path) -> bytes:
    """PNG: real images and 64 samples of each family of an image task."""
    mine = [experiment for experiment in experiments if experiment.task == task and not experiment.ablation]
    real = np.load(folder / f"{mine[0].recipe.data.dataset}-real.npy")
    grids = {"test images": grid(real)}
    grids |= {e.name: grid(np.load(folder / e.key / "samples.npy")) for e in mine}
    return side_by_side(grids)


def curves(rows: list[dict[str, Any]]) -> bytes:
    """PNG: for each task, the validation figure of each family over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    figure = Figure(figsize=(4 * len(tasks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for task, axes in zip(tasks, panels, strict=True):
        mine = {row["name"]: row for row in rows if row["task"] == task and not row["ablation"]}
        for name in families(task):
            validations = [record for record in mine[name]["records"] if record["split"] == "validation"]
            scale = unit(task).scale(mine[name]["bound"]["dimensions"])
            axes.plot([r["step"] for r in validations], [-scale * r["bound"] for r in validations], ".-", label=name)
        axes.set(title=task, xlabel="step", ylabel=f"-ELBO or -log p, {unit(task).name}")
        axes.grid(alpha=0.3)
    panels[0].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
