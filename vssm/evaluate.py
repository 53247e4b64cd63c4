"""How good a model is on data: the ELBO and the importance-weighted bound, with standard errors.

Both bound the log-likelihood from below, so their negatives bound the negative log-likelihood from above and
lower is better. The data are binarised once with a fixed seed, and the noise of every batch is a function of the
seed and the batch, so the same call gives the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vssm.batches import as_sequences, binarise, generator
from vssm.model import VSSM

_BATCH = 500
Report = Callable[[int], None]  # examples done


@dataclass(frozen=True)
class Bound:
    """A mean over examples and its standard error, in nats per sequence; lower is better."""

    nats: float
    standard_error: float


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

    @property
    def bits_per_dimension(self) -> float:
        """The importance-weighted bound in bits per value."""
        return self.importance_weighted.nats / self.dimensions / math.log(2)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {**asdict(self), "bits_per_dimension": self.bits_per_dimension}

    def as_text(self) -> str:
        """Return a Markdown table, for model cards."""
        samples = f"importance-weighted bound ({self.num_importance_samples} samples)"
        rows = ((samples, self.importance_weighted), ("negative ELBO", self.negative_elbo))
        lines = [f"| {name} | {b.nats:.2f} | {b.standard_error:.2f} |" for name, b in rows]
        return "\n".join(["| bound of -log p(x) | nats per sequence | standard error |", "|---|---|---|", *lines])


def evaluate(
    model: VSSM,
    images: NDArray[np.uint8],
    *,
    num_importance_samples: int = 64,
    limit: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Evaluation:
    """Measure a model on images uint8 (n, height, width), or on the first `limit` of them.

    `report` is called with the number of examples done after each batch.
    Raises: ValueError when the images do not fit the model, or no image is left.
    """
    config = model.config
    if config.observation.kind != "bernoulli":
        raise ValueError(f"only bernoulli models are evaluated on images, not {config.observation.kind} ones")
    if len(images) == 0 or (limit is not None and limit < 1):
        raise ValueError("at least one example is needed to evaluate on")
    grey = as_sequences(images, config.length, config.size)
    x = binarise(grey, generator(seed, "evaluation binarise"))[:limit]
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
    )


@torch.no_grad()
def _batch_terms(model: VSSM, x: Tensor, samples: int, seed: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """ELBO (B,), importance-weighted bound (B,) and KL (B, levels) of a batch, float64 on the CPU."""
    noise = generator(seed, "evaluation noise", number, str(model.device))
    x = x.to(model.device)
    elbo = model.elbo(x, generator=noise)
    weighted = model.log_likelihood(x, num_importance_samples=samples, generator=noise)
    return elbo.nats.double().cpu(), weighted.double().cpu(), elbo.kl.double().cpu()


def _negative(values: Tensor) -> Bound:
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Bound(-values.mean().item(), error)
