"""How good a model is on data: the ELBO and the importance-weighted bound, with standard errors.

Both bound the log-likelihood from below, so their negatives bound the negative log-likelihood from above and
lower is better. A rival has no latents: its figure is exact. The noise of every batch is a function of the seed and the
batch, so the same call gives the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vssm.baselines.rival import Rival
from vssm.batches import generator
from vssm.model import VSSM

_BATCH = 500
_SAMPLED = 64  # sequences, to count passes
Report = Callable[[int], None]  # examples done


@dataclass(frozen=True)
class Bound:
    """A mean over examples and its standard error, in nats per sequence; lower is better."""

    nats: float
    standard_error: float

    def error_as_text(self) -> str:
        """The standard error; one example has none."""
        return "unknown" if math.isnan(self.standard_error) else f"{self.standard_error:.2f}"


@dataclass(frozen=True)
class Evaluation:
    """Upper bounds of the negative log-likelihood; `kl` is of each level, all in nats per sequence."""

    examples: int
    dimensions: int
    num_importance_samples: int
    seed: int
    negative_elbo: Bound
    importance_weighted: Bound
    kl: tuple[float, ...]
    exact: bool = False  # without latents, or a rival's: both figures are the negative log-likelihood itself
    passes: tuple[float, int] | None = None  # of a model in exact mode: mean and maximum over samples, for `steps`
    steps: int = 0

    @property
    def bits_per_dimension(self) -> float:
        """The importance-weighted bound in bits per value."""
        return self.importance_weighted.nats / self.dimensions / math.log(2)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {**asdict(self), "bits_per_dimension": self.bits_per_dimension}

    def as_text(self) -> str:
        """Return a Markdown table, for model cards."""
        if self.exact:
            exact = f"| exact | nats per sequence | standard error |\n|---|---|---|\n| -log p(x) | {self._exact()} |"
            return exact + self._passes()
        samples = f"importance-weighted bound ({self.num_importance_samples} samples)"
        rows = ((samples, self.importance_weighted), ("negative ELBO", self.negative_elbo))
        lines = [f"| {name} | {b.nats:.2f} | {b.error_as_text()} |" for name, b in rows]
        table = "\n".join(["| bound of -log p(x) | nats per sequence | standard error |", "|---|---|---|", *lines])
        return table + self._passes()

    def _passes(self) -> str:
        """How many passes samples take, in exact mode."""
        if self.passes is None:
            return ""
        mean, most = self.passes
        return (
            f"\n\nParallel passes for the {self.steps:,} steps of a sample: {mean:.1f} on average, {most} at most "
            f"({_SAMPLED} samples)."
        )

    def _exact(self) -> str:
        return f"{self.negative_elbo.nats:.2f} | {self.negative_elbo.error_as_text()}"


def evaluate(
    model: VSSM | Rival,
    x: Tensor,
    *,
    num_importance_samples: int = 64,
    seed: int = 0,
    report: Report | None = None,
) -> Evaluation:
    """Measure a model on sequences x (n, length, size); see `examples.measured_with`.

    `report` is called with the number of examples done after each batch.
    """
    config = model.config
    terms = []
    for number, part in enumerate(torch.split(x, _BATCH)):
        terms.append(_batch_terms(model, part, num_importance_samples, seed, number))
        if report is not None:
            report(min(len(x), (number + 1) * _BATCH))
    elbo, weighted, kl = (torch.cat(column) for column in zip(*terms, strict=True))
    return Evaluation(
        examples=len(x),
        dimensions=config.length * config.size,
        num_importance_samples=num_importance_samples,
        seed=seed,
        negative_elbo=_negative(elbo),
        importance_weighted=_negative(weighted),
        kl=tuple(kl.mean(0).tolist()),
        exact=isinstance(model, Rival) or not model.levels,
        passes=_count_passes(model, seed),
        steps=config.length,
    )


def _count_passes(model: VSSM | Rival, seed: int) -> tuple[float, int] | None:
    if isinstance(model, Rival) or model.past is None:
        return None
    passes = model.generate(num_samples=_SAMPLED, seed=seed).passes
    return None if passes is None else (float(passes.mean()), int(passes.max()))


@torch.no_grad()
def _batch_terms(model: VSSM | Rival, x: Tensor, samples: int, seed: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """ELBO (B,), importance-weighted bound (B,) and KL (B, levels) of a batch, float64 on the CPU."""
    x = x.to(model.device)
    if isinstance(model, Rival) or not model.levels:
        exact = model.log_likelihood(x).double().cpu()
        return exact, exact, exact.new_zeros(len(x), 0)
    noise = generator(seed, "evaluation noise", number, str(model.device))
    elbo = model.elbo(x, generator=noise)
    weighted = model.log_likelihood(x, num_importance_samples=samples, generator=noise)
    return elbo.nats.double().cpu(), weighted.double().cpu(), elbo.kl.double().cpu()


def _negative(values: Tensor) -> Bound:
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Bound(-values.mean().item(), error)
