"""`CompiledNetworks`: the networks of a VSSM for generation on the CPU, from weights packed once.

    features  (B, T, F)   x, e, d of `vssm.model`, float32
    state     (B, L, 2N)  before the first step; returned as it is after step `last` of each row
    last      (B,)        int64

The mathematics of the torch modules, which are the reference; every row's bits are its own, so a pass may be cut and
shared in any way. Weights are read when it is made. Knows nothing of seeds, windows or sessions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vssm.compiled import kernels
from vssm.compiled.past import pack_head, sweep
from vssm.compiled.tile import HEIGHT, Floats, pack, pad
from vssm.flow import LOG_SCALE_LIMIT, Flow, given
from vssm.latents import CategoricalLatent, GaussianLatent
from vssm.parallel import even_cuts, in_parts, over_threads, thread_count
from vssm.ssm import MLP, Bidirectional, Block, Stack

if TYPE_CHECKING:
    from vssm.model import VSSM

_ROWS_WORTH_A_THREAD = 64
_MANY_SEQUENCES = 8  # a thread: then their number need not be a multiple of the threads
_NONE = np.zeros(0, np.float32)
Layer = tuple[Any, ...]


class CompiledNetworks:
    """Encoder, levels and head of a model; threads are torch's number."""

    block_rows = 4096  # sequences x steps at once: what is between layers stays in the last cache

    def __init__(self, model: VSSM) -> None:
        self._model = model
        self._embed = None if model.embed is None else pack_linear(model.embed)
        encoder = model.encoder
        self._encoder = _blocks(encoder) if isinstance(encoder, Stack) else []
        both = (encoder.ahead, encoder.back) if isinstance(encoder, Bidirectional) else ()
        self._both = [_blocks(stack) for stack in both]
        self._inject = [pack_linear(level.inject) for level in model.levels]
        self._stacks = [_blocks(level.stack) for level in model.levels]
        self._priors = [_mlp(getattr(level.latent, "prior_net", None)) for level in model.levels]
        self._flows = [_couplings(getattr(level.latent, "flow", None)) for level in model.levels]
        self._posteriors = [_mlp(getattr(level.latent, "posterior_net", None)) for level in model.levels]
        self._head = _mlp(model.observation.head)
        past = model.past
        self._far = None if past is None else pack_linear(past.far)
        self._past = [] if past is None else _blocks(past.stack)
        self._sweep = None if past is None else pack_head(past, model.observation)

    def encode(self, features: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder features (B, T, E) of what the encoder reads (B, T, F), and its state."""
        return _stack(self._encoder, self._embedded(features), state, last)

    def _embedded(self, features: Tensor) -> Tensor:
        assert self._embed is not None
        width = cast(nn.Linear, self._model.embed).out_features
        return _tensor(_map(kernels.linear, _rows(features), self._embed), features, width)

    def encode_whole(self, features: Tensor) -> Tensor:
        """(1, T, F) -> e (1, T, E) of a bidirectional encoder, for one whole sequence."""
        e = self._embedded(features)
        start = cast(Bidirectional, self._model.encoder).ahead.start(1, e)
        last = torch.full((1,), e.shape[1] - 1)
        directions = zip(self._both, (e.clone(), e.flip(1)), strict=True)
        ahead, back = (_stack(layers, x, start, last)[0] for layers, x in directions)
        both = _rows(ahead + back.flip(1))
        out, width = np.empty_like(both), both.shape[1]
        _run(kernels.norm, len(both), both, (np.ones(width, np.float32), np.zeros(width, np.float32)), out)
        return torch.from_numpy(out).view(e.shape)

    def prior(self, k: int, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k from the prior and base noise (B, T, Z)."""
        latent = self._model.levels[k].latent
        layer, flow = self._priors[k], self._flows[k]
        base = _flow(flow, d, noise) if flow else latent.prior(None, noise)
        if layer is None or d is None:
            return base
        return _gaussian(_map(kernels.mlp, _rows(d), layer), base)

    def posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k from the posterior and base noise (B, T, Z)."""
        latent = self._model.levels[k].latent
        params = self._posterior_rows(k, e, d)
        if isinstance(latent, GaussianLatent):
            return _gaussian(params, noise)
        return cast(CategoricalLatent, latent).choose(_tensor(params, noise, latent.size), noise)

    def posterior_params(self, k: int, e: Tensor, d: Tensor | None) -> Tensor:
        """(B, T, P) of level k: means and log scales, or logits."""
        latent = self._model.levels[k].latent
        each = 2 if isinstance(latent, GaussianLatent) else 1
        return _tensor(self._posterior_rows(k, e, d), e, each * latent.size)

    def prior_params(self, k: int, d: Tensor | None) -> Tensor | None:
        """(B, T, P) of level k: means and log scales; None where the prior is fixed."""
        layer = self._priors[k]
        if layer is None or d is None:
            return None
        return _tensor(_map(kernels.mlp, _rows(d), layer), d, 2 * self._model.levels[k].latent.size)

    def _posterior_rows(self, k: int, e: Tensor, d: Tensor | None) -> Floats:
        layer = self._posteriors[k]
        assert layer is not None
        return _map(kernels.mlp, _rows(given(e, d)), layer)

    def decode(self, k: int, z: Tensor, d: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) after level k from its latents and the features below, and the stack's state."""
        width = self._model.config.decoder.width
        if d is None:
            d = _tensor(_map(kernels.linear, _rows(z), self._inject[k]), z, width)
        else:
            flat = _rows(d)
            _run(kernels.add_linear, len(flat), _rows(z), self._inject[k], flat)
            d = torch.from_numpy(flat).view(d.shape)
        return _stack(self._stacks[k], d, state, last)

    def params(self, d: Tensor) -> Tensor:
        """Parameters (B, T, *params_shape) of p(x | z)."""
        observation = self._model.observation
        if self._head is None:
            return observation.params(d)
        kernel = kernels.mlp if isinstance(observation.head, MLP) else kernels.linear
        out_size = math.prod(observation.params_shape)
        return observation.shaped(_tensor(_map(kernel, _rows(d), self._head), d, out_size))

    def far(self, e: Tensor, added: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks.far`."""
        assert self._head is not None
        width = self._model.config.decoder.width
        if added is None:
            u = _tensor(_map(kernels.linear, _rows(e), cast(Layer, self._far)), e, width)
        else:
            flat = _rows(added)
            _run(kernels.add_linear, len(flat), _rows(e), self._far, flat)
            u = torch.from_numpy(flat).view(added.shape)
        features, after = _stack(self._past, u, state, last)
        return _tensor(_map(kernels.hidden, _rows(features), self._head[:2]), features, width), after

    def sweep(self, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks.sweep`."""
        assert self._sweep is not None
        return sweep(self._sweep, self._model.observation, b, e, noise)

    def run(self, name: object, function: Any, inputs: dict[str, Tensor], steps: int, timed: object) -> Any:
        """`function(inputs, steps)`: nothing to gain from a graph."""
        return function(inputs, steps)


# -- packing ------------------------------------------------------------------------------------------------------


def _numbers(tensor: Tensor) -> Floats:
    return cast(Floats, tensor.detach().float().contiguous().numpy())


def pack_linear(module: nn.Linear) -> Layer:
    """A linear map as `kernels.linear` takes it: weight and bias."""
    bias = np.zeros(module.out_features, np.float32) if module.bias is None else _numbers(module.bias)
    return pack(_numbers(module.weight)), pad(bias)


def _norm(module: nn.Module) -> Layer:
    norm = cast(nn.LayerNorm, module)
    return _numbers(norm.weight), _numbers(norm.bias)


def _mlp(module: nn.Module | None) -> Layer | None:
    if module is None:
        return None
    if isinstance(module, nn.Linear):
        return pack_linear(module)
    norm, hidden, _, last = cast(MLP, module)
    return _norm(norm), pack_linear(cast(nn.Linear, hidden)), pack_linear(cast(nn.Linear, last))


def _couplings(flow: Flow | None) -> list[Layer]:
    return [] if flow is None else [cast(Layer, _mlp(net)) for net in flow.nets]


def _blocks(stack: Stack) -> list[Layer]:
    return [pack_block(block) for block in stack.blocks]


def pack_block(block: Block) -> Layer:
    """Norm, input, zeros, gate, output, skip, mix: with the real parts of all states first, then the imaginary ones."""
    ssm = block.ssm
    a, scale = ssm.gates()
    weight = _numbers(ssm.input.weight * scale[:, None])  # (2N, D), real and imaginary in turns
    order = np.concatenate([np.arange(0, len(weight), 2), np.arange(1, len(weight), 2)])
    gate = _numbers(a.real), _numbers(a.imag)
    output = pack(_numbers(ssm.output.weight)[:, order]), pad(_numbers(ssm.output.bias))
    inputs = pack(weight[order])
    nothing = np.zeros(len(inputs) * inputs.shape[2], np.float32)
    norm = (_NONE, _NONE) if block.linear else _norm(block.norm)
    mix = (np.zeros((0, 1, 16), np.float32), _NONE) if block.linear else pack_linear(block.mix)
    return norm, inputs, nothing, gate, output, _numbers(ssm.skip), mix


# -- running ------------------------------------------------------------------------------------------------------


def _rows(x: Tensor) -> Floats:
    """(B, T, F) -> (B * T, F), shared where it is contiguous."""
    return cast(Floats, x.reshape(-1, x.shape[-1]).contiguous().numpy())


def _tensor(rows: Floats, like: Tensor, size: int) -> Tensor:
    """(B * T, >= size) -> (B, T, size), with B and T of `like`."""
    return torch.from_numpy(np.ascontiguousarray(rows[:, :size])).view(*like.shape[:-1], size)


def _threads(rows: int) -> int:
    return max(1, min(thread_count(), rows // _ROWS_WORTH_A_THREAD))


def _run(kernel: Any, rows: int, *arguments: Any) -> None:
    over_threads(rows, rows // _ROWS_WORTH_A_THREAD, HEIGHT, kernel, *arguments)


def _map(kernel: Any, x: Floats, layer: Layer) -> Floats:
    """The rows of x through a kernel, into a new array (rows, P * 16)."""
    out = np.empty((len(x), len(layer[-1][-1] if isinstance(layer[-1], tuple) else layer[-1])), np.float32)
    _run(kernel, len(x), x, layer, out)
    return out


def _gaussian(params: Floats, noise: Tensor) -> Tensor:
    eps = _rows(noise)
    z = np.empty_like(eps)
    _run(kernels.moments, len(z), params, LOG_SCALE_LIMIT, eps, z)
    return torch.from_numpy(z).view(noise.shape)


def _flow(layers: list[Layer], d: Tensor | None, noise: Tensor) -> Tensor:
    """See `Flow.forward`."""
    a, b = noise.chunk(2, dim=-1)
    for layer in layers:
        a, b = _gaussian(_map(kernels.mlp, _rows(given(a, d)), layer), b), a
    return torch.cat([a, b], dim=-1)


def _stack(layers: list[Layer], x: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """All blocks of a stack, x in place: threads share the sequences or, if these are few, the steps."""
    sequences, steps = x.shape[:2]
    rows, after = _rows(x), state.clone().numpy()
    kept, threads = last.numpy(), _threads(len(rows))
    by_sequence = threads == 1 or sequences % threads == 0 or sequences >= _MANY_SEQUENCES * threads
    cuts = [steps * cut for cut in even_cuts(sequences, threads)]
    u = None if by_sequence else np.empty((len(rows), max((len(layer[2]) for layer in layers), default=0)), np.float32)
    for index, layer in enumerate(layers):
        if u is None:
            in_parts(cuts, kernels.block, rows, steps, layer, index, after, kept)
            continue
        _run(kernels.enter, len(rows), rows, layer, u)
        in_parts(cuts, kernels.scan, u, steps, layer, index, after, kept)
        _run(kernels.leave, len(rows), rows, layer, u)
    return torch.from_numpy(rows).view(x.shape), torch.from_numpy(after)
