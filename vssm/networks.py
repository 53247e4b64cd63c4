"""The networks of a model as generation calls them, one implementation for each kind of device.

    encode      what the encoder reads        -> e, its state; `encode_whole` for a bidirectional one
    prior       features of the level below   -> z of a level
    posterior   e, features of the level below -> z of a level
    posterior_params, prior_params             -> what z is distributed as: for the weights of particles
    decode      z, features of the level below -> features of a level, its state
    params      features of the last level    -> p(x | z)
    far, sweep  of a decoder that reads earlier values, see `vssm.past`

    run         a function of these       -> its results, from a graph where that is faster

`ReferenceNetworks` calls the torch modules, on any device and dtype; float32 runs compiled on a CPU, in Triton kernels
on CUDA. A state goes in as it was before the first step and comes out as it is after step `last` of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from vssm.compiled.networks import CompiledNetworks
from vssm.flow import given
from vssm.past import hidden, sweep
from vssm.ssm import Bidirectional, Stack

if TYPE_CHECKING:
    from vssm.model import VSSM


Function = Callable[[dict[str, Tensor], int], dict[str, Tensor]]


class Networks(Protocol):
    """What a pass needs of a model; features given to `decode` may be overwritten."""

    block_rows: int
    """Sequences x steps that a pass works on at once."""

    def encode(self, features: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F), state (B, L, 2N), last (B,) -> e (B, T, E) and the state."""

    def encode_whole(self, features: Tensor) -> Tensor:
        """(1, T, F) -> e (1, T, E) of a bidirectional encoder, for one whole sequence."""

    def prior(self, k: int, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k."""

    def posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k."""

    def posterior_params(self, k: int, e: Tensor, d: Tensor | None) -> Tensor:
        """(B, T, P) of level k: means and log scales, or logits."""

    def prior_params(self, k: int, d: Tensor | None) -> Tensor | None:
        """(B, T, P) of level k: means and log scales; None where the prior is fixed."""

    def decode(self, k: int, z: Tensor, d: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) after level k, and the state of its stack."""

    def params(self, d: Tensor) -> Tensor:
        """(B, T, *params_shape), see `vssm.observations`."""

    def far(self, e: Tensor, added: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features at the distances that the stack reads, (B, T, far * F), and what is added -> b (B, T, D), state."""

    def sweep(self, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The head through T steps in order: b (B, T, D), noise (B, T, ...) -> values (B, T, size), parameters.

        e (B, near + T, F) begins with the features of the `near` steps before, and takes those of what is chosen.
        """

    def run(
        self, name: Hashable, function: Function, inputs: dict[str, Tensor], steps: int, timed: Collection[str]
    ) -> dict[str, Tensor]:
        """`function(inputs, steps)`, pure and always the same for `name`; its results are valid until the next call.

        Rows are the first dimension of all tensors, steps the second one of those that `timed` names.
        """


class ReferenceNetworks:
    """The torch modules themselves."""

    block_rows = 1 << 14

    def __init__(self, model: VSSM) -> None:
        self._model = model

    def encode(self, features: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks`."""
        embedded = cast(nn.Linear, self._model.embed)(features)
        encoded: tuple[Tensor, Tensor] = cast(Stack, self._model.encoder)(embedded, state, last)
        return encoded

    def encode_whole(self, features: Tensor) -> Tensor:
        """See `Networks`."""
        e: Tensor = cast(Bidirectional, self._model.encoder)(cast(nn.Linear, self._model.embed)(features))
        return e

    def prior(self, k: int, d: Tensor | None, noise: Tensor) -> Tensor:
        """See `Networks`."""
        return self._model.levels[k].latent.prior(d, noise)

    def posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Tensor) -> Tensor:
        """See `Networks`."""
        return self._model.levels[k].latent.posterior(e, d, noise).z

    def posterior_params(self, k: int, e: Tensor, d: Tensor | None) -> Tensor:
        """See `Networks`."""
        params: Tensor = self._model.levels[k].latent.posterior_net(given(e, d))
        return params

    def prior_params(self, k: int, d: Tensor | None) -> Tensor | None:
        """See `Networks`."""
        net = self._model.levels[k].latent.prior_net
        return None if net is None or d is None else net(d)

    def decode(self, k: int, z: Tensor, d: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks`."""
        return self._model.levels[k].decode(z, d, state, last)

    def params(self, d: Tensor) -> Tensor:
        """See `Networks`."""
        return self._model.observation.params(d)

    def far(self, e: Tensor, added: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks`."""
        past = self._model.past
        assert past is not None
        u = past.far(e)
        features, after = past.stack(u if added is None else u + added, state, last)
        return hidden(self._model.observation, features), after

    def sweep(self, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks`."""
        past = self._model.past
        assert past is not None
        return sweep(past, self._model.observation, b, e, noise)

    def run(
        self, name: Hashable, function: Function, inputs: dict[str, Tensor], steps: int, timed: Collection[str]
    ) -> dict[str, Tensor]:
        """See `Networks`."""
        return function(inputs, steps)


def build_networks(model: VSSM) -> Networks:
    """The fastest networks for the model's device and dtype."""
    weight = model.weight
    if weight.dtype != torch.float32:
        return ReferenceNetworks(model)
    if weight.device.type == "cuda":
        from vssm.cuda.networks import TritonNetworks  # needs Triton, which the CPU does not

        return TritonNetworks(model)
    return CompiledNetworks(model) if weight.device.type == "cpu" else ReferenceNetworks(model)
