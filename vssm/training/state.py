"""The training state on disk: one safetensors file, replaced in one step, never seen half written.

It holds the trainer's tensors, the best averaged weights so far and a few figures. Whatever else a training
writes (metrics, picture, best checkpoint) can be made again, or cut back, from this file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_VERSION = 1


class StateFileError(ValueError):
    """A training state cannot be read or does not fit; the message says what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"cannot resume from {path}: {why}. Choose another folder with --out, or begin anew with --restart"
        )


class Figures(BaseModel):
    """What the state file knows besides tensors; `best_bound` is in nats per sequence (higher is better)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Annotated[int, Field(ge=_VERSION, le=_VERSION)] = _VERSION
    step: Annotated[int, Field(ge=0)]
    seconds: float
    recipe: str  # TOML
    best_step: int | None = None
    best_bound: float | None = None


class TrainingState(NamedTuple):
    """Figures, the trainer's tensors, and the best weights by name (empty before the first validation)."""

    figures: Figures
    trainer: dict[str, Tensor]
    best: dict[str, Tensor]


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or the next start after a power cut, finds the old or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_state(path: Path, state: TrainingState) -> None:
    """Write a training state. Raises: OSError, and then the old file is still there."""
    tensors = {f"trainer.{name}": tensor for name, tensor in state.trainer.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(owned, metadata={"figures": state.figures.model_dump_json()}))


def read_state(path: Path) -> TrainingState:
    """Read a training state. Raises: StateFileError when it is damaged or of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            figures = Figures.model_validate_json((file.metadata() or {}).get("figures", ""))
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValidationError) as error:
        raise StateFileError(path, str(error).splitlines()[0]) from error
    parts: dict[str, dict[str, Tensor]] = {"trainer": {}, "best": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return TrainingState(figures, parts["trainer"], parts["best"])
