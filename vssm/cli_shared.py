"""What the commands of `vssm` share: arguments, and an end with a message where a person can put it right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

_MODEL = "Name of a shipped model, a checkpoint folder, or owner/name[@revision] on the Hugging Face hub."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def messages() -> Iterator[None]:
    """End with a message and exit code 2 (130 when stopped by a signal) on errors that a person can put right."""
    from vssm import CheckpointError, ObservationError, StateError
    from vssm.data import DataError
    from vssm.recipe import RecipeError
    from vssm.training.errors import StoppedError, TrainingError
    from vssm.training.state import StateFileError

    try:
        yield
    except StoppedError as error:
        tell(str(error))
        raise typer.Exit(130) from None
    except (
        CheckpointError,
        DataError,
        ObservationError,
        RecipeError,
        StateError,
        StateFileError,
        TrainingError,
        typer.BadParameter,
        OSError,
    ) as error:
        tell(f"error: {error}")
        raise typer.Exit(2) from None


def tell(message: str) -> None:
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def check_device(device: str) -> None:
    """Raises typer.BadParameter when there is no such device."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(f"--device {device}: {str(error).splitlines()[0]}") from error
