"""What the commands of `vssm` share: arguments, and an end with a message where a person can put it right."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

_MODEL = "Name of a shipped model, a checkpoint folder, or owner/name or owner/name@revision on the Hugging Face hub."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


_ERRORS = {  # what a person can put right, by the module that defines it
    "vssm.checkpoint": "CheckpointError",
    "vssm.data.errors": "DataError",
    "vssm.generation": "NonFiniteError",
    "vssm.observations.base": "ObservationError",
    "vssm.recipe": "RecipeError",
    "vssm.state": "StateError",
    "vssm.training.errors": "TrainingError",
    "vssm.training.state": "StateFileError",
}


@contextmanager
def messages() -> Iterator[None]:
    """End with a message and exit code 2 (130 when stopped by a signal) on errors that a person can put right."""
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped")
        raise typer.Exit(130) from None
    except _expected() as error:
        stopped = type(error).__name__ == "StoppedError"
        tell(str(error) if stopped else f"error: {error}")
        raise typer.Exit(130 if stopped else 2) from None
    except (MemoryError, RuntimeError) as error:
        if not _of_memory(error):
            raise
        tell("error: there is not enough memory for this: fewer samples, a shorter length or a smaller batch need less")
        raise typer.Exit(2) from None


def _expected() -> tuple[type[Exception], ...]:
    """Those that can have been raised: a module that was not imported raised nothing, and need not be imported now."""
    known = (getattr(sys.modules[module], name) for module, name in _ERRORS.items() if module in sys.modules)
    return (typer.BadParameter, OSError, *known)


def _of_memory(error: Exception) -> bool:
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def tell(message: str) -> None:
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def check_device(device: str) -> None:
    """Raises typer.BadParameter when there is no such device."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(f"--device {device}: {str(error).splitlines()[0]}") from error
