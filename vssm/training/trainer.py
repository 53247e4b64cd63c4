"""One training step, and everything that it changes.

`Trainer.tensors()` is the whole state of a training between two steps: giving it to `Trainer.restore()` goes
on with the same bits. Randomness is not part of it: all of it is a pure function of the seed and the step.
The trainer knows nothing about files, data sets and displays.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vssm.baselines.build import build, load_any
from vssm.baselines.config import AnyConfig
from vssm.batches import derive_seed, generator
from vssm.examples import Source
from vssm.recipe import Recipe, TrainingSettings
from vssm.training.errors import TrainingError
from vssm.training.precision import products
from vssm.training.replay import Replayed

_BETA1 = 0.9


class Metrics(NamedTuple):
    """Means over a number of steps or examples, in nats per sequence (`gradient_norm`: of their mean)."""

    bound: float
    log_likelihood: float
    kl: tuple[float, ...]  # of each level
    gradient_norm: float


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    left = (settings.steps - step) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 - math.cos(math.pi * left))


def kl_weight(step: int, settings: TrainingSettings) -> float:
    """Return the weight of the KL term at a step: from `kl_warmup_start` to 1 over `kl_warmup_steps`."""
    risen = min(1.0, step / settings.kl_warmup_steps) if settings.kl_warmup_steps else 1.0
    return settings.kl_warmup_start + (1 - settings.kl_warmup_start) * risen


def cut_length(step: int, length: int, settings: TrainingSettings) -> int:
    """Return how many steps a batch trains on: all or, half the time with `cut_prefixes`, a random 1..length."""
    if not settings.cut_prefixes:
        return length
    random = generator(settings.seed, "cut", step)
    whole, cut = torch.randint(2, (1,), generator=random), torch.randint(1, length + 1, (1,), generator=random)
    return length if whole.item() else int(cut.item())


class Schedule:
    """What changes from step to step: floats, on CUDA tensors that stay where they are, as a graph reads them."""

    learning_rate: float | Tensor
    kl_weight: float | Tensor
    share: float | Tensor  # of the weights in their average

    def __init__(self, settings: TrainingSettings, device: str) -> None:
        self._settings = settings
        self._numbers = torch.zeros(3, device=device) if torch.device(device).type == "cuda" else None
        self.move_to(0)

    def move_to(self, step: int) -> None:
        """The numbers of a step."""
        decay = min(self._settings.ema_decay, (1 + step) / (10 + step))
        now = learning_rate(step, self._settings), kl_weight(step, self._settings), 1 - decay
        if self._numbers is None:
            self.learning_rate, self.kl_weight, self.share = now
        else:
            self._numbers.copy_(torch.tensor(now))
            self.learning_rate, self.kl_weight, self.share = self._numbers.unbind()


class Trainer:
    """A model, its averaged copy and its optimiser, `step` steps into a recipe."""

    def __init__(self, recipe: Recipe, batches: Source, device: str = "cpu") -> None:
        self.settings, self.device, self.step = recipe.training, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.settings.seed, "initialisation"))
            self.model = build(recipe.model).to(device).train()
        if self.settings.start_from is not None:
            self.model.load_state_dict(weights_of(self.settings.start_from, recipe.model))
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._optimizer = _optimizer(self.model, self.settings)
        self._schedule = Schedule(self.settings, device)
        self._batches = batches
        self._noise = torch.Generator(device)
        self._parameters: list[Tensor] = list(self.model.parameters())
        self._averages: list[Tensor] = list(self.averaged.parameters())
        # steps, bound, log-likelihood, gradient norm and the KL of each level, summed since the last metrics
        self._sums = torch.zeros(4 + len(self.model.levels), dtype=torch.float64, device=device)
        replayed = self._noise.device.type == "cuda" and self.settings.graphs and not self.settings.cut_prefixes
        self._change: Callable[[Tensor], None] = Replayed(self._learn, self._noise) if replayed else self._learn

    def advance(self) -> None:
        """Do one step."""
        x = self._batches.batch(self.step)
        steps = cut_length(self.step, x.shape[1], self.settings)
        self._noise.manual_seed(derive_seed(self.settings.seed, "noise", self.step))
        self._schedule.move_to(self.step)
        self._change(x[:, :steps])
        self.step += 1

    def _learn(self, x: Tensor) -> None:
        """A step on x (B, steps, size), of which only tensors and the schedule tell one step from another."""
        x, scale = x.to(self.device), self.model.config.length / x.shape[1]
        self._optimizer.zero_grad()
        with products(self.settings.precision):
            elbo = self.model.elbo(
                x, self._noise, free_bits=self.settings.free_bits, kl_weight=self._schedule.kl_weight
            )
            (-scale * elbo.objective.mean()).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters, self.settings.gradient_clip)
        self._update()
        with torch.no_grad():
            nats, log_likelihood, *kl = scale * torch.stack([elbo.nats, elbo.log_likelihood, *elbo.kl.T]).mean(1)
            self._sums += torch.stack([torch.ones_like(norm), nats, log_likelihood, norm, *kl])

    @torch.no_grad()
    def _update(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate
        self._optimizer.step()
        share = self._schedule.share
        if isinstance(share, float):
            torch._foreach_lerp_(self._averages, self._parameters, share)
        else:
            changes = torch._foreach_sub(self._parameters, self._averages)
            torch._foreach_mul_(changes, share)
            torch._foreach_add_(self._averages, changes)

    def is_finite(self) -> bool:
        """Tell whether every bound and gradient since the last metrics was finite."""
        return bool(self._sums.isfinite().all())

    def take_metrics(self) -> Metrics:
        """Return the means of the steps since the last call, and begin anew."""
        steps, bound, log_likelihood, norm, *kl = self._sums.tolist()
        self._sums.zero_()
        return Metrics(bound / steps, log_likelihood / steps, tuple(level / steps for level in kl), norm / steps)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that a step changes, by name (not copies)."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        named |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            state = self._optimizer.state[parameter]
            named |= {f"optimizer.{part}.{name}": tensor for part, tensor in state.items()}
        return named | {"sums": self._sums}

    @torch.no_grad()
    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Set everything from the `tensors()` that another trainer of the same recipe had at `step`.

        Raises: ValueError for a tensor that is missing or of another shape; then nothing was set.
        """
        ours = self.tensors()
        for name, tensor in ours.items():
            if name not in tensors:
                raise ValueError(f"it has no {name}")
            if (found := tensors[name].shape) != tensor.shape:
                raise ValueError(f"its {name} has shape {tuple(found)}, not {tuple(tensor.shape)}")
        for name, tensor in ours.items():
            tensor.copy_(tensors[name])
        self.step = step


def weights_of(source: str, config: AnyConfig) -> dict[str, Tensor]:
    """The weights of a checkpoint that has the networks of `config`. Raises: CheckpointError, TrainingError."""
    found = load_any(source)
    theirs, ours = (c.model_dump(mode="json", exclude={"description"}) for c in (found.config, config))
    if theirs != ours:
        field = next(name for name in (*ours, *theirs) if theirs.get(name) != ours.get(name))
        raise TrainingError(
            f"training.start_from: {source} has other networks ({field} is {theirs.get(field)}, the recipe's is "
            f"{ours.get(field)}); make the recipe's [model] the one of that checkpoint"
        )
    return found.state_dict()


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if _decays(p)], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if not _decays(p)], "weight_decay": 0.0},
    ]
    betas = (_BETA1, settings.adam_beta2)
    graphs = parameters[0].is_cuda  # may hold a step
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True, capturable=graphs)
    for parameter in parameters:  # what AdamW makes at its first step, so that step 0 has a whole state too
        moments = {part: torch.zeros_like(parameter) for part in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
    return optimizer


def _decays(parameter: nn.Parameter) -> bool:
    """Matrices do, unless they say that they do not: a Mamba's `A_log` is dynamics, not a map."""
    return parameter.ndim >= 2 and not getattr(parameter, "no_weight_decay", False)
