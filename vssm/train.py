"""The training loop: `train(recipe, out)` until its steps are done, going on where it was interrupted.

A training folder holds

    state.safetensors   everything needed to go on; replaced in one step, at most every few seconds
    metrics.jsonl       one line for every few steps (training) and every validation
    metrics.png         the same as curves
    recipe.toml         the recipe with all defaults
    best/               checkpoint of the averaged weights with the best validation bound

A training that was killed at any moment, and started again with the same recipe, ends with the same bits as
one that was not.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vssm import data
from vssm.baselines.rival import Rival
from vssm.batches import derive_seed
from vssm.card import training_card
from vssm.checkpoint import save
from vssm.examples import Examples, examples
from vssm.model import VSSM
from vssm.recipe import Recipe, to_toml
from vssm.training.display import TrainingDisplay
from vssm.training.errors import StoppedError, TrainingError
from vssm.training.folder import discard, only_one, refuse_foreign, refuse_other_recipe, replace_best
from vssm.training.metrics import MetricsFile, draw_curves
from vssm.training.process import stop_signals, threads
from vssm.training.state import Figures, StateFileError, TrainingState, read_state, write_atomically, write_state
from vssm.training.trainer import Metrics, Trainer

_VALIDATION_BATCH = 500


class TrainingResult(NamedTuple):
    """The best checkpoint's folder, the step it is from, and its validation bound (nats per sequence)."""

    checkpoint: Path
    step: int
    bound: float


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    source: data.Data | None = None,
    held_out: data.Data | None = None,
    device: str = "cpu",
    restart: bool = False,
    display: TrainingDisplay | None = None,
) -> TrainingResult:
    """Train a model into the folder `out`, or go on with the training that is there.

    `source` is what to train on and `held_out` what to validate with, by default those of the recipe's data set.
    `restart` discards the training that is there.
    Raises: TrainingError (StoppedError after SIGINT or SIGTERM), RecipeError, data.DataError, StateFileError.
    """
    folder = Path(out)
    if source is None:
        source, held_out = load(recipe)
    chosen = examples(recipe, source, held_out)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder), threads(recipe.training.threads), display or TrainingDisplay(recipe) as shown:
        if restart:
            discard(folder)
        with Run(recipe, folder, chosen, device, shown) as run, stop_signals() as stop:
            while not run.finished:
                run.step()
                if stop.is_set() and not run.finished:
                    run.interrupt()
            return run.result()


def load(recipe: Recipe, report: data.Report | None = None) -> tuple[data.Data, data.Data | None]:
    """A recipe's training data, and its validation split where the data set has one. Raises: DataError."""
    name = recipe.data.dataset
    source = data.load(name, "train", report=report)
    return source, data.load(name, "validation", report=report) if "validation" in data.splits(name) else None


class Run:
    """A training and its folder."""

    def __init__(self, recipe: Recipe, folder: Path, examples: Examples, device: str, display: TrainingDisplay) -> None:
        self._recipe, self._settings, self._folder, self._display = recipe, recipe.training, folder, display
        self._trainer = Trainer(recipe, examples.training, device)
        self._validation = examples.validation
        self._best: dict[str, Tensor] = {}
        self._figures = Figures(step=0, seconds=0.0, recipe=to_toml(recipe))
        self._resume()
        self._metrics = MetricsFile(folder / "metrics.jsonl", self._trainer.step)
        self._started = time.monotonic() - self._figures.seconds
        self._saved_at = time.monotonic()
        self._validated_since_drawing = True
        display.begin(self._trainer.step)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._metrics.close()

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self._trainer.step >= self._settings.steps

    def step(self) -> None:
        """Do one step, and what is due after it."""
        self._trainer.advance()
        self._display.step(self._trainer.step)
        if self._due(self._settings.metrics_every_steps):
            self._record_training()
        if self._due(self._settings.validation_every_steps):
            self._validate()
        if self.finished or time.monotonic() - self._saved_at > self._settings.checkpoint_every_seconds:
            self._save()

    def interrupt(self) -> None:
        """Save and stop. Raises: StoppedError."""
        self._save()
        raise StoppedError(
            f"stopped at step {self._trainer.step}, the state is saved; the same command goes on from there"
        )

    def result(self) -> TrainingResult:
        """Return the best checkpoint."""
        figures = self._figures
        if figures.best_step is None or figures.best_bound is None:
            raise TrainingError("no validation gave a finite bound, so there is no checkpoint")
        return TrainingResult(self._folder / "best", figures.best_step, figures.best_bound)

    def _due(self, every: int) -> bool:
        return self._trainer.step % every == 0 or self.finished

    def _check_finite(self) -> None:
        if not self._trainer.is_finite():
            raise TrainingError(
                f"the loss or its gradient is no longer finite at step {self._trainer.step}. The state of "
                f"step {self._figures.step} and the best checkpoint are kept in {self._folder}; "
                "try a lower training.learning_rate or training.gradient_clip, with --restart"
            )

    def _record_training(self) -> None:
        self._check_finite()
        metrics = self._trainer.take_metrics()
        self._record("train", metrics)
        self._display.trained(metrics)

    def _validate(self) -> None:
        self._check_finite()
        trainer, seed = self._trainer, self._settings.seed
        metrics = validate(trainer.averaged, self._validation, seed, trainer.device)
        self._record("validation", metrics)
        self._validated_since_drawing = True
        before = self._figures.best_bound
        better = before is None or metrics.bound > before
        if better:
            self._best = {name: tensor.cpu().clone() for name, tensor in trainer.averaged.state_dict().items()}
            update = {"best_step": trainer.step, "best_bound": metrics.bound}
            self._figures = self._figures.model_copy(update=update)
            self._write_best()
        self._display.validated(trainer.step, metrics, better)

    def _record(self, split: str, metrics: Metrics) -> None:
        seconds = round(time.monotonic() - self._started, 2)
        step = self._trainer.step
        self._metrics.append({"step": step, "split": split, "seconds": seconds, **metrics._asdict()})

    def _save(self) -> None:
        """Write the state (after the metrics that belong to it) and the picture."""
        self._check_finite()
        self._metrics.sync()
        update = {"step": self._trainer.step, "seconds": time.monotonic() - self._started}
        self._figures = self._figures.model_copy(update=update)
        self._write_state()
        if self._validated_since_drawing:
            draw_curves(self._folder / "metrics.png", self._metrics.records)
            self._validated_since_drawing = False
        self._saved_at = time.monotonic()

    def _write_state(self) -> None:
        state = TrainingState(self._figures, self._trainer.tensors(), self._best)
        write_state(self._folder / "state.safetensors", state)

    def _resume(self) -> None:
        """Go on from the folder's state, or write the first one."""
        path = self._folder / "state.safetensors"
        if not path.exists():
            refuse_foreign(self._folder)
            self._write_state()
            write_atomically(self._folder / "recipe.toml", to_toml(self._recipe).encode())
            return
        state = read_state(path)
        refuse_other_recipe(state.figures.recipe, self._recipe, self._folder)
        self._figures, self._best = state.figures, state.best
        try:
            self._trainer.restore(state.figures.step, state.trainer)
        except ValueError as error:
            raise StateFileError(path, str(error)) from error
        self._write_best()
        self._display.note(f"going on from step {state.figures.step:,} in {self._folder}")

    def _write_best(self) -> None:
        """Make `best/` what the best weights say, whatever is there."""
        replace_best(self._folder, self._write_checkpoint if self._best else None)

    def _write_checkpoint(self, folder: Path) -> None:
        model = copy.deepcopy(self._trainer.averaged)
        model.load_state_dict(self._best)
        figures = self._figures
        save(model, folder, training_card(self._recipe, figures.best_step or 0, figures.best_bound or 0.0))


@torch.no_grad()
def validate(model: VSSM | Rival, x: Tensor, seed: int, device: str = "cpu") -> Metrics:
    """Return the mean bound of sequences (n, length, size), with noise fixed by the seed."""
    noise = torch.Generator(device)
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    kl: Tensor | float = 0.0
    for number, part in enumerate(torch.split(x, _VALIDATION_BATCH)):
        noise.manual_seed(derive_seed(seed, "validation noise", number))
        elbo = model.elbo(part.to(device), generator=noise)
        totals += torch.stack([elbo.nats.double().sum(), elbo.log_likelihood.double().sum()])
        kl = kl + elbo.kl.double().sum(0)  # (levels,)
    bound, log_likelihood = (totals / len(x)).tolist()
    return Metrics(bound, log_likelihood, tuple((torch.as_tensor(kl) / len(x)).tolist()), 0.0)
