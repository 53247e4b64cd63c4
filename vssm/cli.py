"""The `vssm` command. Each subcommand is a thin shell around one library function.

Whatever a person can put right (a wrong field, a missing file) ends with a message and exit code 2, not with a
traceback. Torch is imported inside the subcommands, so that help comes at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vssm import cli_forecast, cli_hub, cli_sample
from vssm.cli_shared import AsJson, Device, Model, check_device, messages

if TYPE_CHECKING:
    from rich.progress import TaskID

    from vssm.baselines import Rival
    from vssm.data import Report
    from vssm.evaluate import Evaluation
    from vssm.model import VSSM

app = typer.Typer(
    name="vssm",
    help="Train, evaluate and sample variational state space models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for more in (cli_sample, cli_forecast, cli_hub):
    app.add_typer(more.app)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (TOML).")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the training; by default runs/ and the recipe's name.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.FIELD=VALUE", help="Change a field of the recipe; repeatable."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Discard the training that is in the folder.")] = False,
    device: Device = "cpu",
) -> None:
    """Train a model, or go on with a training that was interrupted.

    The folder then has best/ (a checkpoint), metrics.jsonl and metrics.png.

    Examples:

      vssm train recipes/mnist.toml

      vssm train recipes/mnist.toml --out runs/short --set training.steps=500
    """
    with messages():
        from vssm.recipe import load_recipe
        from vssm.train import load as read
        from vssm.train import train as run

        checked = load_recipe(recipe, settings or ())
        check_device(device)
        with _downloads() as report:
            source, held_out = read(checked, report)
        folder = out or Path("runs") / recipe.stem
        result = run(checked, folder, source=source, held_out=held_out, restart=restart, device=device)
        print(
            f"{result.checkpoint}: validation -ELBO {-result.bound:.2f} nats at step {result.step:,}\n"
            f"next: vssm evaluate {result.checkpoint} --dataset {checked.data.dataset} --card"
        )


@app.command()
def evaluate(
    model: Model,
    num_importance_samples: Annotated[
        int, typer.Option(min=1, help="Samples K of the importance-weighted bound.")
    ] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first examples.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the binarisation and the noise.")] = 0,
    dataset: Annotated[
        str | None, typer.Option(help="Data set, or the path of your own; by default the one it was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="Its split.")] = "test",
    card: Annotated[bool, typer.Option("--card", help="Write the result into the model card.")] = False,
    as_json: AsJson = False,
    device: Device = "cpu",
) -> None:
    """Measure the ELBO and the importance-weighted bound, with standard errors.

    Examples:

      vssm evaluate mnist

      vssm evaluate runs/mnist/best --num-importance-samples 64 --card

      vssm evaluate shakespeare --limit 500 --json
    """
    with messages():
        from vssm.baselines import load_any
        from vssm.checkpoint import locate
        from vssm.hub import as_hub_id

        if card and as_hub_id(model) is not None:
            raise typer.BadParameter(f"--card: {model} is on the hub; `vssm pull {model} --out FOLDER` makes it yours")
        check_device(device)
        loaded, folder = load_any(model, device), locate(model)
        dataset = dataset or _trained_on(folder)
        result = _evaluate(loaded, dataset, split, num_importance_samples, limit, seed)
        if card:
            from vssm.card import write_measured

            bits = loaded.config.observation.kind == "bernoulli"
            write_measured(folder, _measured(result, f"{dataset}, {split} split", bits))
        print(json.dumps(result.as_dict(), indent=2)) if as_json else _show_evaluation(result)


def _trained_on(folder: Path) -> str:
    """Only a known data set: a card that others wrote shall not choose a file of this machine."""
    from vssm.card import trained_on
    from vssm.data import DATASETS

    name = trained_on(folder)
    if name is not None and name in DATASETS:
        return name
    raise typer.BadParameter(
        f"the model's card does not name a known data set ({', '.join(DATASETS)}) that it was trained on; "
        "--dataset names one, or the path of your own"
    )


def _evaluate(model: VSSM | Rival, dataset: str, split: str, samples: int, limit: int | None, seed: int) -> Evaluation:
    from vssm import data as library
    from vssm.bars import counting_bar
    from vssm.evaluate import evaluate as run
    from vssm.examples import measured_with

    with _downloads() as report:
        source = library.load(dataset, split, report=report)
    try:
        x = measured_with(model.config, source, limit, seed)
    except ValueError as error:
        raise typer.BadParameter(f"{dataset} cannot be used: {error}; --dataset names another") from error
    with counting_bar(Console(stderr=True), "examples") as bar:
        task = bar.add_task("evaluating", total=len(x))
        return run(
            model,
            x,
            num_importance_samples=samples,
            seed=seed,
            report=lambda done: bar.update(task, completed=done),
        )


def _measured(result: Evaluation, data: str, bits: bool) -> str:
    seed = f"{'binarised once with ' if bits else ''}seed {result.seed}"
    return (
        f"{data}, {result.examples:,} examples, {seed} "
        f"({result.bits_per_dimension:.4f} bits per dimension):\n\n{result.as_text()}"
    )


def _show_evaluation(result: Evaluation) -> None:
    table = Table("bound of -log p(x)", "nats per sequence", "±", "bits per dimension")
    weighted, elbo = result.importance_weighted, result.negative_elbo
    bits = result.bits_per_dimension
    name = "exact" if result.exact else f"importance-weighted, K = {result.num_importance_samples}"
    table.add_row(name, f"{weighted.nats:.2f}", weighted.error_as_text(), f"{bits:.4f}")
    if not result.exact:
        ratio = elbo.nats / weighted.nats
        table.add_row("negative ELBO", f"{elbo.nats:.2f}", elbo.error_as_text(), f"{bits * ratio:.4f}")
    console = Console()
    console.print(table)
    levels = ", ".join(f"{level:.2f}" for level in result.kl)
    console.print(f"{result.examples:,} examples" + (f"; KL of each level: {levels} nats" if levels else ""))


@app.command()
def data(
    dataset: Annotated[str, typer.Argument(help="Name of a data set, or the path of your own.")] = "mnist",
) -> None:
    """Download a data set, or check the copy that is there; or say how data of your own are read.

    Downloads are kept under VSSM_DATA (by default the user's cache folder) and checked by sha256.

    Examples:

      vssm data mnist

      VSSM_DATA=/data vssm data mnist

      vssm data measurements.csv
    """
    with messages():
        from vssm import data as library

        with _downloads() as report:
            paths = library.download(dataset, report=report)
        if dataset in library.DATASETS:
            print(*paths, sep="\n")
        checked = ": complete, checksums right" if dataset in library.DATASETS else ""
        print(f"{library.describe(dataset)}{checked}")


@app.command()
def info(model: Model, as_json: AsJson = False) -> None:
    """Say what a model is.

    Examples:

      vssm info mnist

      vssm info runs/mnist/best --json
    """
    with messages():
        import vssm

        described = vssm.load(model).info()
        if as_json:
            print(json.dumps(described, indent=2))
            return
        table = Table(show_header=False)
        table.add_column()
        table.add_column(overflow="fold")  # a fingerprint is of use only whole
        for name, value in described.items():
            table.add_row(name, value if isinstance(value, str) else json.dumps(value))
        Console().print(table)


@contextmanager
def _downloads() -> Iterator[Report]:
    """Show a progress bar for whatever has to be downloaded."""
    from vssm.bars import download_bar

    with download_bar(Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total or None)
            bar.update(tasks[name], completed=done)

        yield report
