"""How every command of `vssm` ends when a person can put it right: a message and exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console


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
