"""The folder of a training: who may write into it, and how the best checkpoint in it is replaced."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vssm.recipe import Recipe, RecipeError, parse_toml
from vssm.training.errors import TrainingError

_FILES = ("state.safetensors", "metrics.jsonl", "metrics.png", "recipe.toml")
_FOLDERS = ("best", ".best.new", ".best.old")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go when the process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TrainingError(f"another training is running in {folder}: choose another folder with --out") from error
    finally:
        os.close(handle)


def refuse_foreign(folder: Path) -> None:
    """Raises: TrainingError when a folder without a training state has files that a training would write."""
    found = [name for name in (*_FILES, "best") if (folder / name).exists()]
    if found:
        raise TrainingError(
            f"{folder} has {', '.join(found)} but no training state: choose another folder with --out, "
            "or discard them with --restart"
        )


def refuse_other_recipe(stored: str, recipe: Recipe, folder: Path) -> None:
    """Raises: TrainingError when the training began with another recipe (how often it is saved aside)."""
    try:
        before = _fields(parse_toml(stored, f"the recipe of the training in {folder}"))
    except RecipeError as error:
        raise TrainingError(f"{error}\nIt is of another version: begin anew with --restart") from error
    now = _fields(recipe)
    changed = [f"{name} was {before[name]!r}, is {now[name]!r}" for name in now if before[name] != now[name]]
    if changed:
        raise TrainingError(
            f"the training in {folder} began with another recipe ({'; '.join(changed)}): choose another "
            "folder with --out, or discard it with --restart"
        )


def _fields(recipe: Recipe) -> dict[str, Any]:
    tables = recipe.model_dump(mode="json")
    fields = {f"{table}.{name}": value for table, rest in tables.items() for name, value in rest.items()}
    del fields["training.checkpoint_every_seconds"]
    return fields


def discard(folder: Path) -> None:
    """Delete everything that a training writes."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def replace_best(folder: Path, write: Callable[[Path], None] | None) -> None:
    """Replace `best/` by what `write` makes, or by nothing; a kill may leave it missing, never mixed."""
    best, new, old = (folder / name for name in _FOLDERS)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    if write is not None:
        write(new)
    if best.exists():
        best.rename(old)
    if write is not None:
        new.rename(best)
    shutil.rmtree(old, ignore_errors=True)
