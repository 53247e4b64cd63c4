"""Memory and keys over time, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.soak.samples import Sample

COLOURS = {"api": "#4c72b0", "worker": "#dd8452"}


def draw(samples: Sequence[Sample], report: dict[str, Any], path: Path) -> None:
    """Resident memory of API and worker beside what Redis holds."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    minutes = [sample.seconds / 60 for sample in samples]
    for part, colour in COLOURS.items():
        grown = 100 * report["growth"][part]["grown"]
        memory = [getattr(sample, part) / 2**20 for sample in samples]
        left.plot(minutes, memory, color=colour, lw=1.2, label=f"{part} ({grown:+.2f} % after the warm-up)")
    left.axvline(report["plan"]["seconds"] / 360, color="grey", lw=0.8, ls=":")
    left.set(title="resident memory", xlabel="minutes", ylabel="MiB")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, loc="center right")
    right.plot(minutes, [sample.keys for sample in samples], color="#55a868", lw=1.2)
    right.set(title="keys in Redis", xlabel="minutes")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
