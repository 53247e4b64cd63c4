"""The record of a training: one JSON object a line, and a picture of its curves."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vssm.training.state import write_atomically

Record = dict[str, Any]


class MetricsFile:
    """A JSONL file of records with a `step`; opened at a step, it forgets what was written beyond it."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self.records = _read(path, step)
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in self.records).encode())
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: Record) -> None:
        """Add one line, in the file at once."""
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(path: Path, step: int) -> list[Record]:
    """Return the records up to a step; a line cut short by a kill is beyond it by construction."""
    records: list[Record] = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["step"] <= step:
            records.append(record)
    return records


def draw_curves(path: Path, records: Sequence[Record]) -> None:
    """Draw the bound (training and validation) and the KL of each level over the steps as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    bound, kl = figure.subplots(1, 2)
    for split in ("train", "validation"):
        mine = [record for record in records if record["split"] == split]
        bound.plot([r["step"] for r in mine], [-r["bound"] for r in mine], label=split)
        for level, values in enumerate(zip(*(r["kl"] for r in mine), strict=True)):
            kl.plot([r["step"] for r in mine], values, label=f"{split}, level {level + 1}")
    last = [-record["bound"] for record in records[len(records) // 4 :]]
    if last:
        bound.set_ylim(min(last) - 1, max(last) + 1)
    bound.set(xlabel="step", ylabel="negative ELBO (nats)")
    kl.set(xlabel="step", ylabel="KL (nats)")
    for axes in (bound, kl):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(path)
