"""How well models continue MNIST test digits: nats of the rest given the first rows, cut at 25, 50 and 75 %.

For a VSSM an upper bound of -log g(rest | prefix), g being what generation draws from (see `vssm.prefix_bound`),
without and with particles; for an autoregressive rival the exact -log p(rest | prefix). Lower is better, and a bound
can only look worse than it is. Prints a Markdown table and writes benchmarks/results/prefix_quality.json.

    python -m benchmarks.prefix_quality mnist runs/cut/best runs/transformer/best --digits 200 --particles 1 16
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine
from vssm import data
from vssm.baselines import Rival, load_any
from vssm.batches import as_sequences, binarise, generator
from vssm.model import VSSM
from vssm.prefix_bound import conditional_bound, conditional_log_likelihood

RESULTS = Path(__file__).parent / "results" / "prefix_quality.json"
CUTS = (0.25, 0.5, 0.75)
_BATCH = 50


@dataclass(frozen=True)
class PrefixSettings:
    """The first `digits` of the test set, S = `paths` of the bound, numbers of particles, and the noise's seed."""

    digits: int = 200
    paths: int = 64
    particles: tuple[int, ...] = (1, 16)
    seed: int = 0


def main() -> None:
    """Measure all models at all cuts, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["mnist"], help="names of shipped models or folders, rivals too")
    parser.add_argument("--digits", type=int, default=200, help="the first so many of the test set")
    parser.add_argument("--paths", type=int, default=64, help="S of the bound")
    parser.add_argument("--particles", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = PrefixSettings(options.digits, options.paths, tuple(options.particles), options.seed)
    try:
        rows = [row for name in options.models for row in measure(name, load_any(name), settings)]
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(table(rows))
    about = {"settings": asdict(settings), "machine": machine()}
    options.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


def measure(name: str, model: VSSM | Rival, settings: PrefixSettings) -> list[dict[str, Any]]:
    """One row for each number of particles, or the single one of a rival. Raises ValueError."""
    images = data.load_images("mnist", "test").images
    grey = as_sequences(images, model.config.length, model.config.size)
    x = binarise(grey, generator(settings.seed, "evaluation binarise"))[: settings.digits]  # those of `vssm evaluate`
    x = x.to(model.device)
    counts = (1,) if isinstance(model, Rival) else settings.particles
    return [_row(name, model, x, count, settings) for count in counts]


def _row(name: str, model: VSSM | Rival, x: Tensor, count: int, settings: PrefixSettings) -> dict[str, Any]:
    started, cuts = time.perf_counter(), {}
    for share in CUTS:
        parts = enumerate(torch.split(x, _BATCH))
        nats = -torch.cat([_log(model, part, i, share, count, settings) for i, part in parts])
        error = nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else None
        cuts[f"{share:.0%}"] = {"nats": round(nats.mean().item(), 3), "standard_error": error and round(error, 3)}
    kind = "exact" if isinstance(model, Rival) else "bound"
    seconds = round(time.perf_counter() - started, 1)
    return {"model": name, "num_particles": count, "kind": kind, "cuts": cuts, "seconds": seconds}


def _log(model: VSSM | Rival, x: Tensor, part: int, share: float, count: int, settings: PrefixSettings) -> Tensor:
    """log probability of the rest (B,), from noise that every model and number of particles has in common."""
    cut = max(1, round(share * x.shape[1]))
    if isinstance(model, Rival):
        return conditional_log_likelihood(model, x, cut)
    noise = generator(settings.seed, f"prefix quality {share}", part, str(model.device))
    return conditional_bound(model, x, cut, num_paths=settings.paths, num_particles=count, generator=noise)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of models, columns of cuts, as Markdown."""
    names = list(rows[0]["cuts"])
    lines = ["| model | particles | figure | " + " | ".join(f"rest after {name}, nats" for name in names) + " |"]
    lines.append("|---|---|---|" + "---|" * len(names))
    for row in rows:
        figures = [f"{cut['nats']:.2f} ± {cut['standard_error'] or 0:.2f}" for cut in row["cuts"].values()]
        lines.append(f"| {row['model']} | {row['num_particles']} | {row['kind']} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
