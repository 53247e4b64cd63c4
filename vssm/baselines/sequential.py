"""A latent-free model in exact mode, run one step after another: what its passes have to beat, with the same weights.

    recent  (B, reach, F)   features of the last values, the newest last        kept between steps, with
    h       (B, L, 2N)      states of the stack, real and imaginary parts interleaved

The step is torch's, so it is compiled, or captured into a CUDA graph, like those of the other rivals. Values may differ
in rare bits from those of `VSSM.generate`, whose sums are in another order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import gates, past
from vssm.baselines.rival import Rival
from vssm.model import VSSM

if TYPE_CHECKING:
    from vssm.baselines.config import RivalConfig


@dataclass(frozen=True)
class _Extent:
    """What caches and generation ask of a rival's configuration; `width` is that of a value's features."""

    length: int
    size: int
    width: int
    scaling: str


class Sequential(Rival):
    """The model as a rival: raises ValueError for one with latents, or without a past."""

    grows: ClassVar[bool] = False

    def __init__(self, model: VSSM) -> None:
        nn.Module.__init__(self)
        if model.past is None or model.levels:
            raise ValueError("only a model in exact mode without latents is run step by step")
        self.past, self.observation = model.past, model.observation
        config, features = model.config, model.observation.feature_size
        self.config = cast("RivalConfig", _Extent(config.length, config.size, features, config.scaling))
        self.start = nn.Parameter(model.weight.new_zeros(features), requires_grad=False)  # of a step that is not there
        self.register_buffer("distances", torch.tensor(model.past.config.far, device=model.device) - 1)

    def embedded(self, x: Tensor) -> Tensor:
        return self.observation.embed(x).to(self.start.dtype)

    def params(self, features: Tensor) -> Tensor:
        return past.params(self.observation, features)

    def stack(self, e: Tensor) -> Tensor:
        u: Tensor = self.past.far(past.earlier(e, tuple(k - 1 for k in self.past.config.far)))
        place = self.past.place(torch.arange(e.shape[1], device=e.device))
        u = u if place is None else u + place
        features, _ = self.past.stack(u, self.past.stack.start(len(e), u))
        return past.hidden(self.observation, features) + self.past.read(past.earlier(e, range(self.past.config.near)))

    def empty(self, num_samples: int, capacity: int) -> tuple[Tensor, ...]:
        recent = self.start.new_zeros(num_samples, self.past.config.reach, len(self.start))
        return recent, self.past.stack.start(num_samples, self.start)

    def prefill(self, e: Tensor, position: int, cached: tuple[Tensor, ...]) -> Tensor:
        prepared, at = self.prepare(), torch.full((1,), position, device=e.device)
        for t in range(e.shape[1]):
            feature = self.step(e[:, t], at + t, at, cached, prepared)
        return feature

    def prepare(self) -> tuple[Tensor, ...]:
        made: list[Tensor] = []
        for block in self.past.stack.blocks:
            a, scale = block.ssm.gates()
            made += [a.real.contiguous(), a.imag.contiguous(), block.ssm.input.weight * scale[:, None]]
        return tuple(made)

    def step(
        self, e: Tensor, position: Tensor, seen: Tensor, cached: tuple[Tensor, ...], prepared: tuple[Tensor, ...]
    ) -> Tensor:
        recent, states = cached
        recent.copy_(torch.cat([recent[:, 1:], e[:, None]], dim=1))
        newest_first = recent.flip(1)
        u: Tensor = self.past.far(newest_first[:, cast(Tensor, self.distances)].flatten(1))
        place = self.past.place(position)
        u = u if place is None else u + place
        for k, block in enumerate(self.past.stack.blocks):
            u = self._block(block, u, states[:, k], *prepared[3 * k : 3 * k + 3])
        near = self.past.read(newest_first[:, : self.past.config.near].flatten(1))
        return past.hidden(self.observation, u) + near

    def _block(self, block: Any, x: Tensor, state: Tensor, real: Tensor, imag: Tensor, weight: Tensor) -> Tensor:
        """One step of a block, x (B, D); its state (B, 2N) is moved on in place."""
        normal = block.norm(x)
        pairs, before = F.linear(normal, weight).view(len(x), -1, 2), state.view(len(x), -1, 2)
        re = real * before[..., 0] - imag * before[..., 1] + pairs[..., 0]
        im = real * before[..., 1] + imag * before[..., 0] + pairs[..., 1]
        state.copy_(torch.stack([re, im], dim=-1).flatten(1))
        y = block.ssm.output(state) + block.ssm.skip * normal
        return x + gates.glu(block.mix(gates.activate(y)))
