"""Quality against passes against seconds: exact mode beside one-pass VSSMs, a Transformer and a Mamba, MNIST by pixels.

    python -m benchmarks.front --folder runs/front     trains what is not there yet, measures, writes docs/front.md

All have about as many parameters and see the same examples in the same batches (recipes/reproduce/mnist-pixels.toml).
The figures of the other families are those of `make reproduce`; all seconds are measured here, in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.machine import machine
from benchmarks.reproduce.measure import Settings, measure_one, train_one
from benchmarks.reproduce.plan import EXACT, RECIPES, Experiment, of_task, parameters
from vssm import VSSM
from vssm.baselines import Rival, build, load_any
from vssm.config import ModelConfig
from vssm.recipe import Recipe, load_recipe

TASK, ROW, ROWS = "mnist-pixels", 28, 5
RESULTS = Path("benchmarks/results")
_BESIDE = (5, 5, 4, 3, 2)  # columns to either side in each of the rows above that the stack reads
_TIMINGS = 3


@dataclass(frozen=True)
class Point:
    """A model of the front: its figures, and its passes and seconds for one image and for each of 64 at once."""

    name: str
    parameters: int
    nats: float
    error: float
    bound: bool
    passes: float
    most_passes: int
    seconds: float
    seconds_of_64: float
    distance: float | None


def far(near: int) -> list[int]:
    """Distances of the neighbours in the rows above, beyond the `near` pixels that the head reads."""
    above = [y * ROW - x for y in range(1, ROWS + 1) for x in range(-_BESIDE[y - 1], _BESIDE[y - 1] + 1)]
    left = range(1, _BESIDE[0] + 1)
    return sorted({near + 1, *(k for k in [*above, *left] if k > near)})


def exact(recipe: Recipe, near: int, width: int = 96, **changes: Any) -> Recipe:
    """A latent-free model in exact mode, trained as the recipe says."""
    past = {"near": near, "far": far(near), "layers": 3, "grid": [28, 28]}
    decoder = {"width": width, "state": width // 2}
    fields = recipe.model.model_dump() | {"levels": [], "encoder": None, "decoder": decoder, "past": past} | changes
    return recipe.model_copy(update={"model": ModelConfig.model_validate(fields)})


def hybrid(recipe: Recipe, weight: float) -> Recipe:
    """One that has latents as well, with a second head that reads them alone."""
    changed = exact(recipe, 27, 80)
    assert isinstance(changed.model, ModelConfig)
    assert changed.model.past is not None
    return exact(
        recipe,
        27,
        80,
        levels=[{"kind": "gaussian", "size": 2, "layers": 1}],
        encoder={"kind": "causal", "width": 48, "state": 24, "layers": 1, "sees_noise": True},
        past=changed.model.past.model_dump() | {"layers": 2, "auxiliary_weight": weight},
    )


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """The models in exact mode, by name."""
    made = {f"exact, near {near}": exact(recipe, near) for near in (0, 6, 27, 55, 111)}
    return made | {"hybrid, near 27, auxiliary 0.1": hybrid(recipe, 0.1)}


def main() -> None:
    """Everything; a training or a measurement that is there is not done again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/front"))
    parser.add_argument("--only", nargs="*", help="names of the variants to train; then nothing else is done")
    options = parser.parse_args()
    console, recipe = Console(), load_recipe(RECIPES["cpu"] / f"{TASK}.toml")
    found = {name: Experiment(TASK, name, variant) for name, variant in variants(recipe).items()}
    for name, experiment in found.items():
        if options.only is None or name in options.only:
            console.print(f"training {name}, {parameters(experiment.recipe):,} parameters")
            train_one(experiment, options.folder, "cpu")
    if options.only is None:
        points = [*_others(recipe), *(_point(experiment, options.folder) for experiment in found.values())]
        write(points)
        console.print(table(points))


def _others(recipe: Recipe) -> list[Point]:
    """The families of `make reproduce`, their figures as it found them; the seconds are those of any weights."""
    kept = json.loads((RESULTS / "reproduce-cpu.json").read_text())["rows"]
    rows = {row["name"]: row for row in kept if row["task"] == TASK}
    points = []
    for experiment in of_task(TASK, recipe):
        if experiment.name == EXACT:
            continue  # there are several of these, trained here
        row, model = rows[experiment.name], build(experiment.recipe.model).eval().requires_grad_(False)
        length = model.config.length
        passes = length if isinstance(model, Rival) else 1
        points.append(_with(row, experiment.name, passes, passes, _seconds(model, 1), _seconds(model, 64)))
    return points


def _point(experiment: Experiment, folder: Path) -> Point:
    row = measure_one(experiment, folder, Settings())
    model = load_any(str(folder / experiment.key / "best"))
    assert isinstance(model, VSSM)
    passes = model.generate(num_samples=64, seed=0).passes
    assert passes is not None
    seconds = _seconds(model, 1), _seconds(model, 64)
    return _with(row, experiment.name, float(passes.mean()), int(passes.max()), *seconds)


def _with(row: dict[str, Any], name: str, passes: float, most: int, seconds: float, of_64: float) -> Point:
    figure, distance = row["bound"]["importance_weighted"], row.get("quality", {}).get("frechet_distance")
    latents = bool(row["bound"]["kl"])
    return Point(
        name,
        row["parameters"],
        figure["nats"],
        figure["standard_error"],
        latents,
        passes,
        most,
        seconds,
        of_64,
        distance,
    )


def _seconds(model: VSSM | Rival, samples: int) -> float:
    """The best time of one image of so many made at once."""
    best = np.inf
    for seed in range(_TIMINGS + 1):
        began = time.perf_counter()
        model.generate(num_samples=samples, seed=seed)
        best = min(best, time.perf_counter() - began) if seed else best
    return float(best) / samples


def table(points: list[Point]) -> str:
    """As Markdown."""
    lines = [
        "| model | parameters | nats per image | passes, mean (max) | one image, ms | one of 64, ms | FD |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in points:
        figure = f"{'at most ' if p.bound else ''}{p.nats:.2f} ± {p.error:.2f}"
        distance = "" if p.distance is None else f"{p.distance:.1f}"
        lines.append(
            f"| {p.name} | {p.parameters:,} | {figure} | {p.passes:.1f} ({p.most_passes}) "
            f"| {1e3 * p.seconds:.1f} | {1e3 * p.seconds_of_64:.2f} | {distance} |"
        )
    return "\n".join(lines)


def write(points: list[Point]) -> None:
    """docs/front.md, its picture, and the figures as JSON."""
    report: dict[str, Any] = {"machine": machine(), "points": [vars(point) for point in points]}
    (RESULTS / "front.json").write_text(json.dumps(report, indent=1) + "\n")
    picture(points, Path("docs/front.png"))
    Path("docs/front.md").write_text(_PAGE.format(table=table(points), machine=report["machine"]["cpu"]))


def picture(points: list[Point], path: Path) -> None:
    """Nats over passes, and over milliseconds of one image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    labels = ("passes (or steps) of an image", "milliseconds of one image, two cores")
    for column, (axes, label) in enumerate(zip(figure.subplots(1, 2), labels, strict=True)):
        for point in points:
            style = "o" if point.name.startswith(("exact", "hybrid")) else "s"
            at = (1e3 * point.seconds if column else point.passes, point.nats)
            axes.plot(*at, style)
            axes.annotate(point.name, at, xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", xlabel=label, ylabel="nats per image (lower is better)")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


_PAGE = """# Quality, passes, seconds

MNIST by pixels, 784 steps of a bit: exact mode beside one-pass VSSMs, a Transformer and a Mamba of about as many
parameters, each trained on the same 9,600 images in the same batches (600 steps of 16: a few minutes, to compare, not
to be good). Made by `python -m benchmarks.front` on {machine}; the figures of the other families are those of
[results](results.md).

![nats over passes and over milliseconds](front.png)

{table}

- **near** is how many pixels just before it the head of a model reads itself; its stack reads what lies further back,
  so that near + 1 pixels are one pass. With near 0 windows of 64 pixels are guessed and verified until nothing changes.
- Figures are -log p(x) of 200 test images, or "at most" where latents make it a bound (K = 64). FD is the Fréchet
  distance of 1,000 samples in the features of a small classifier.
- A pass of a Transformer or a Mamba is one step. Their steps are compiled, with caches.
"""


if __name__ == "__main__":
    main()
