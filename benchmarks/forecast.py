"""Forecasts of a model on a test series, beside seasonal-naive and models of a statistical library, statsforecast.

All forecast the same windows, spread evenly over the test split: `horizon` steps after `context` observed ones, as
`num-samples` paths. The library's models are fitted to each channel of each context anew: for a window of 336 x 7 that
takes AutoETS about two seconds, AutoTheta and AutoCES less than one, AutoARIMA more than one and a half minutes on a
busy core (10 windows did not end within 15 minutes); `--windows` bounds it.
Prints a table, writes benchmarks/results/forecast.json.

    python -m benchmarks.forecast runs/etth1/best
    python -m benchmarks.forecast runs/etth1/best --windows 20 --horizon 24 --library AutoARIMA
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import statsforecast
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from statsforecast import models

from benchmarks.machine import machine
from vssm import data
from vssm.baselines import load_any
from vssm.forecast import Forecaster, Setting, Values, by_model, evaluate, seasonal_naive

RESULTS = Path("benchmarks/results/forecast.json")
SEASON = 24
LIBRARY = ("AutoETS", "AutoTheta", "AutoCES", "AutoARIMA")


def library(name: str, season: int) -> Forecaster:
    """A model of statsforecast, its form chosen and fitted for each channel of each context; simulated paths."""

    def forecast(context: Values, horizon: int, num_samples: int, seed: int) -> Values:
        paths = np.empty((len(context), num_samples, horizon, context.shape[2]))
        for n, window in enumerate(context.astype(np.float64)):
            for channel, y in enumerate(window.T):
                paths[n, :, :, channel] = _simulate(name, y, season, horizon, num_samples, seed + n)
        return paths

    return forecast


def _simulate(
    name: str, y: NDArray[np.float64], season: int, horizon: int, num_samples: int, seed: int
) -> NDArray[Any]:
    with warnings.catch_warnings(action="ignore"):  # of optimisers that did not quite converge
        fitted = getattr(models, name)(season_length=season).fit(np.ascontiguousarray(y))
    paths: NDArray[Any] = fitted.simulate(horizon, num_samples, seed=seed)  # (S, horizon)
    return paths


def measure(forecasters: dict[str, Forecaster], test: Values, history: Values, setting: Setting) -> dict[str, Any]:
    """Scores and seconds of each forecaster."""
    results = {}
    for name, forecaster in forecasters.items():
        print(f"{name} ...", file=sys.stderr)
        started = time.perf_counter()
        scores = evaluate(forecaster, test, history, setting)
        results[name] = scores.as_dict() | {"seconds": round(time.perf_counter() - started, 2)}
    return results


def show(results: dict[str, Any], title: str) -> None:
    """Print the table."""
    table = Table("", "CRPS", "quantile loss", "MASE", "80 % coverage", "width", "seconds", title=title)
    for name, figures in results.items():
        columns = ("crps", "quantile_loss", "mase", "coverage", "width")
        table.add_row(name, *(f"{figures[column]:.3f}" for column in columns), f"{figures['seconds']:.1f}")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement, print and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of a shipped model or a folder")
    parser.add_argument("--dataset", default="etth1")
    parser.add_argument("--windows", type=int, default=50, help="at most so many, spread over the test split")
    parser.add_argument("--horizon", type=int, default=48)
    parser.add_argument("--context", type=int, help="by default what the model's own length leaves")
    parser.add_argument("--num-samples", type=int, default=200)
    parser.add_argument("--library", nargs="+", choices=LIBRARY, default=LIBRARY[:3], metavar="MODEL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    try:
        model = load_any(options.model)
        context = model.config.length - options.horizon if options.context is None else options.context
        setting = Setting(context, options.horizon, 1, options.num_samples, SEASON, options.windows, options.seed)
        history, test = (data.load_series(options.dataset, split).values for split in ("train", "test"))
        forecasters = {options.model: by_model(model), "seasonal-naive": seasonal_naive(SEASON)}
        forecasters |= {name: library(name, SEASON) for name in options.library}
        results = measure(forecasters, test, history, setting)
    except ValueError as error:
        sys.exit(f"error: {error}")
    windows = next(iter(results.values()))["windows"]
    show(results, f"{options.dataset}: {options.horizon} steps after {context}, {windows} windows of the test split")
    about = {**machine(), "statsforecast": statsforecast.__version__}
    document = {"machine": about, "dataset": options.dataset, "context": context, "horizon": options.horizon}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**document, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
