"""`vssm forecast`: a model's forecasts measured beside seasonal-naive."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vssm.bars import counting_bar
from vssm.cli_shared import AsJson, Device, Model, check_device, messages

if TYPE_CHECKING:
    from vssm.forecast import Scores

app = typer.Typer()


@app.command()
def forecast(
    model: Model,
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")] = 24,
    context: Annotated[
        int | None, typer.Option(min=1, help="Steps observed before; by default what the model's own length leaves.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="At most so many, spread evenly over the split.")] = 100,
    num_samples: Annotated[int, typer.Option(min=2, help="Joint paths of each forecast.")] = 100,
    season: Annotated[int, typer.Option(min=1, help="Steps of a season, for seasonal-naive and MASE.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same paths.")] = 0,
    dataset: Annotated[
        str, typer.Option(help="Series to forecast, or the path of your own; its train split gives the units.")
    ] = "etth1",
    split: Annotated[str, typer.Option(help="Its split.")] = "test",
    as_json: AsJson = False,
    device: Device = "cpu",
) -> None:
    """Measure forecasts of a series beside seasonal-naive: CRPS, quantile loss, MASE and coverage.

    Examples:

      vssm forecast runs/etth1/best

      vssm forecast runs/etth1/best --horizon 48 --num-samples 200 --json

      vssm forecast runs/mine/best --dataset measurements.csv --season 7
    """
    with messages():
        from vssm import data as library
        from vssm.baselines import load_any
        from vssm.forecast import Setting, by_model, evaluate, seasonal_naive

        check_device(device)
        loaded = load_any(model, device)
        if loaded.config.modality != "series":
            raise typer.BadParameter(f"{model} is a model of {loaded.config.modality}; only models of series forecast")
        series, history = (library.load_series(dataset, part).values for part in (split, "train"))
        before = _context(loaded.config.length, horizon, context)
        setting = Setting(before, horizon, 1, num_samples, season, windows, seed)
        forecasters = {"model": by_model(loaded), "seasonal-naive": seasonal_naive(season)}
        try:
            scores = {name: _watched(name, evaluate, by, series, history, setting) for name, by in forecasters.items()}
        except ValueError as error:
            raise typer.BadParameter(f"{dataset} cannot be forecast: {error}") from error
        if as_json:
            print(json.dumps({name: result.as_dict() for name, result in scores.items()}, indent=2))
            return
        _show_forecasts(scores, f"{horizon} steps after {before} of {dataset}, {split} split")


def _context(length: int, horizon: int, context: int | None) -> int:
    if context is None and horizon >= length:
        raise typer.BadParameter(
            f"--horizon {horizon}: the model's own length is {length}, which leaves no context; give --context as well"
        )
    return length - horizon if context is None else context


def _watched(name: str, evaluate: Callable[..., Scores], *arguments: object) -> Scores:
    """An evaluation with a bar."""
    with counting_bar(Console(stderr=True), "windows") as bar:
        task = bar.add_task(name, total=None)
        return evaluate(*arguments, report=lambda done, total: bar.update(task, completed=done, total=total))


def _show_forecasts(scores: dict[str, Scores], title: str) -> None:
    table = Table("", "CRPS", "quantile loss", "MASE", "80 % coverage", "width", title=title)
    for name, s in scores.items():
        table.add_row(name, *(f"{figure:.3f}" for figure in (s.crps, s.quantile_loss, s.mase, s.coverage, s.width)))
    Console().print(table)
