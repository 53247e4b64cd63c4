"""What a person sees of a training: a live bar on a terminal, and a line for every validation."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console

from vssm.bars import counting_bar
from vssm.recipe import Recipe
from vssm.training.trainer import Metrics


def describe(metrics: Metrics) -> str:
    """Return the negative ELBO and the KL of each level in words, nats per sequence."""
    if not metrics.kl:
        return f"-log p {-metrics.bound:.2f} nats"
    levels = " + ".join(f"{level:.1f}" for level in metrics.kl)
    return f"-ELBO {-metrics.bound:.2f} nats, KL {levels}"


class TrainingDisplay:
    """Live progress: rate, time left, bound and KL of each level; use it as a context manager."""

    def __init__(self, recipe: Recipe, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = recipe.training.steps
        self._bar = counting_bar(self._console, "steps", "now", "best")
        self._task = self._bar.add_task("training", total=self._total, now="", best="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, step: int) -> None:
        """Begin to measure the rate at a step."""
        self._bar.reset(self._task, completed=step)

    def step(self, step: int) -> None:
        """Show how far the training is."""
        self._bar.update(self._task, completed=step)

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def trained(self, metrics: Metrics) -> None:
        """Show the means of the last training steps."""
        self._bar.update(self._task, now=describe(metrics))

    def validated(self, step: int, metrics: Metrics, best: bool) -> None:
        """Print a line with the validation bound."""
        rate = self._bar.tasks[0].speed
        speed = f", {rate:.1f} steps/s" if rate else ""
        mark = " (best)" if best else ""
        self.note(f"step {step:,} of {self._total:,}: validation {describe(metrics)}{speed}{mark}")
        if best:
            self._bar.update(self._task, best=f"best {-metrics.bound:.2f}")
