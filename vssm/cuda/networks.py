"""`TritonNetworks`: the networks of a VSSM for generation on CUDA, from weights packed once.

    features  (B, T, F)   x, e, d of `vssm.model`, float32
    state     (B, L, 2N)  before the first step; returned as it is after step `last` of each row
    last      (B,)        int64

A block is four kernels; between them, with bf16, what is multiplied or scanned next is stored as bfloat16:

    norm, input projection -> recurrence -> output projection, skip, activation -> mix, gate, residual

States, the residual stream and all sums are float32. The torch modules are the reference. Weights are read when it is
made. Nothing waits for the device. Knows nothing of seeds, windows or sessions.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import gates
from vssm.cuda import INTERPRETED
from vssm.cuda.bits import pack_bits
from vssm.cuda.graphs import STEPS, Function, Graphs, Tensors
from vssm.cuda.linear import Norm, Packed, Precision, gated, latent, linear, pack
from vssm.cuda.recurrence import planar_recurrence
from vssm.flow import LOG_SCALE_LIMIT, Flow, given
from vssm.latents import CategoricalLatent, GaussianLatent
from vssm.solve import best_window
from vssm.ssm import MLP, Bidirectional, Block, Stack

if TYPE_CHECKING:
    from vssm.model import VSSM

WINDOWS = 64  # of the longest graph of a decoder that reads earlier values


@dataclass(frozen=True)
class _MLP:
    norm: Norm
    hidden: Packed
    last: Packed


@dataclass(frozen=True)
class _Block:
    """Without `norm` and `mix` it is the block of a linear decoder. States are planar between input and output."""

    norm: Norm | None
    input: Packed
    gate: Tensor
    output: Packed
    skip: Tensor
    mix: Packed | None


@dataclass(frozen=True)
class _Past:
    """What a decoder that reads earlier values has besides its head; `near` is None where the head reads none."""

    far: Packed
    stack: list[_Block]
    near: Packed | None


class TritonNetworks:
    """Encoder, levels and head of a model on its device; `precision` is that of the products."""

    block_rows = 1 << 20  # sequences x steps at once: fills the device, fits its memory

    def __init__(self, model: VSSM, precision: Precision = "bf16") -> None:
        self._model, self._precision = model, precision
        self._graphs = Graphs(_buckets(model))
        self._stream = torch.bfloat16 if precision == "bf16" and not INTERPRETED else torch.float32
        self._embed = None if model.embed is None else self._linear(model.embed)
        encoder = model.encoder
        self._encoder = self._blocks(encoder) if isinstance(encoder, Stack) else []
        both = (encoder.ahead, encoder.back) if isinstance(encoder, Bidirectional) else ()
        self._both = [self._blocks(stack) for stack in both]
        self._inject = [self._linear(level.inject) for level in model.levels]
        self._stacks = [self._blocks(level.stack) for level in model.levels]
        self._priors = [self._mlp(getattr(level.latent, "prior_net", None), 2) for level in model.levels]
        self._flows = [self._couplings(getattr(level.latent, "flow", None)) for level in model.levels]
        self._posteriors = [
            self._mlp(cast(MLP, level.latent.posterior_net), 2 if isinstance(level.latent, GaussianLatent) else 1)
            for level in model.levels
        ]
        self._posterior_outputs = [self._output(level.latent.posterior_net) for level in model.levels]
        self._prior_outputs = [self._output(level.latent.prior_net) for level in model.levels]
        head = model.observation.head
        self._head = self._mlp(head) if isinstance(head, MLP) else self._linear(cast(nn.Linear, head))
        past = model.past
        self._past = None if past is None else _Past(self._linear(past.far), self._blocks(past.stack), self._near())
        self._bits = pack_bits(past, model.observation)

    def encode(self, features: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder features (B, T, E) of what the encoder reads (B, T, F), and its state."""
        assert self._embed is not None
        return self._stack(self._encoder, linear(self._embed, features), state, last)

    def encode_whole(self, features: Tensor) -> Tensor:
        """(1, T, F) -> e (1, T, E) of a bidirectional encoder, for one whole sequence."""
        assert self._embed is not None
        e = linear(self._embed, features)
        start = cast(Bidirectional, self._model.encoder).ahead.start(1, e)
        last = torch.full((1,), e.shape[1] - 1, device=e.device)
        directions = zip(self._both, (e, e.flip(1)), strict=True)
        ahead, back = (self._stack(blocks, x, start, last)[0] for blocks, x in directions)
        return F.layer_norm(ahead + back.flip(1), e.shape[-1:])

    def prior(self, k: int, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k from the prior and base noise (B, T, Z)."""
        layer, flow = self._priors[k], self._flows[k]
        base = self._flow(flow, d, noise) if flow else self._model.levels[k].latent.prior(None, noise)
        if layer is None or d is None:
            return base
        return latent(layer.last, self._hidden(layer, d), base, LOG_SCALE_LIMIT)

    def posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Tensor) -> Tensor:
        """z (B, T, Z) of level k from the posterior and base noise (B, T, Z)."""
        layer = self._posteriors[k]
        assert layer is not None
        hidden = self._hidden(layer, given(e, d))
        kind = self._model.levels[k].latent
        if isinstance(kind, CategoricalLatent):
            return kind.choose(linear(layer.last, hidden), noise)
        return latent(layer.last, hidden, noise, LOG_SCALE_LIMIT)

    def posterior_params(self, k: int, e: Tensor, d: Tensor | None) -> Tensor:
        """(B, T, P) of level k: means and log scales, or logits."""
        layer, output = self._posteriors[k], self._posterior_outputs[k]
        assert layer is not None
        assert output is not None
        return linear(output, self._hidden(layer, given(e, d)))

    def prior_params(self, k: int, d: Tensor | None) -> Tensor | None:
        """(B, T, P) of level k: means and log scales; None where the prior is fixed."""
        layer, output = self._priors[k], self._prior_outputs[k]
        return None if layer is None or output is None or d is None else linear(output, self._hidden(layer, d))

    def decode(self, k: int, z: Tensor, d: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) after level k from its latents and the features below, and the stack's state."""
        return self._stack(self._stacks[k], linear(self._inject[k], z, add=d), state, last)

    def params(self, d: Tensor) -> Tensor:
        """Parameters (B, T, *params_shape) of p(x | z)."""
        head, observation = self._head, self._model.observation
        assert head is not None
        out = linear(head.last, self._hidden(head, d)) if isinstance(head, _MLP) else linear(head, d)
        return observation.shaped(out)

    def far(self, e: Tensor, added: Tensor | None, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks.far`."""
        past, head = self._past, self._head
        assert past is not None
        assert isinstance(head, _MLP)
        features, after = self._stack(past.stack, linear(past.far, e, add=added), state, last)
        return linear(head.hidden, features, norm=head.norm), after

    def sweep(self, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks.sweep`; one kernel for single bits, else a few a step."""
        if self._bits is not None:
            return self._bits.sweep(b, e, noise)
        past, head, observation = self._past, self._head, self._model.observation
        assert past is not None
        assert isinstance(head, _MLP)
        count, values, made = e.shape[1] - b.shape[1], [], []
        for t in range(b.shape[1]):
            known = b[:, t : t + 1]
            if past.near is not None:
                known = linear(past.near, e[:, t : t + count].flip(1).flatten(1)[:, None], add=known.contiguous())
            params = observation.shaped(linear(head.last, gates.activate(known).contiguous()))
            chosen = observation.choose(params, noise[:, t : t + 1])
            e[:, count + t] = observation.embed(chosen)[:, 0]
            values.append(chosen)
            made.append(params)
        return torch.cat(values, dim=1), torch.cat(made, dim=1)

    def run(self, name: Hashable, function: Function, inputs: Tensors, steps: int, timed: Collection[str]) -> Tensors:
        """`function(inputs, steps)` from a CUDA graph, see `Graphs.run`."""
        return self._graphs.run(name, function, inputs, steps, timed)

    # -- running -------------------------------------------------------------------------------------------------

    def _hidden(self, layer: _MLP, x: Tensor) -> Tensor:
        return linear(layer.hidden, x, norm=layer.norm, activate=True, dtype=self._stream)

    def _flow(self, layers: list[_MLP], d: Tensor | None, noise: Tensor) -> Tensor:
        """See `Flow.forward`."""
        a, b = (half.contiguous() for half in noise.chunk(2, dim=-1))
        for layer in layers:
            a, b = latent(layer.last, self._hidden(layer, given(a, d)), b, LOG_SCALE_LIMIT), a
        return torch.cat([a, b], dim=-1)

    def _stack(self, blocks: list[_Block], x: Tensor, state: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        after = torch.empty_like(state)
        for k, block in enumerate(blocks):
            x = self._block(block, x, state[:, k], last, after[:, k])
        return x, after

    def _block(self, block: _Block, x: Tensor, state: Tensor, last: Tensor, after: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D); the state after step `last` goes into `after`."""
        normed = None if block.norm is None else torch.empty_like(x, dtype=self._stream)
        u = linear(block.input, x, norm=block.norm, normed=normed, dtype=self._stream)
        h = planar_recurrence(block.gate, u, state, last, after, self._stream)
        if block.mix is None or normed is None:
            return linear(block.output, h, skip=(block.skip, x), add=x)
        y = linear(block.output, h, skip=(block.skip, normed), activate=True, dtype=self._stream)
        return gated(block.mix, y, x)

    # -- packing -------------------------------------------------------------------------------------------------

    def _linear(self, module: nn.Linear, parts: int = 1) -> Packed:
        return pack(module.weight, module.bias, self._precision, parts)

    def _near(self) -> Packed | None:
        past = self._model.past
        return None if past is None or past.near is None else self._linear(past.near)

    def _mlp(self, module: nn.Module | None, parts: int = 1) -> _MLP | None:
        if module is None:
            return None
        norm, hidden, _, last = cast(MLP, module)
        return _MLP(
            _norm(cast(nn.LayerNorm, norm)),
            self._linear(cast(nn.Linear, hidden)),
            self._linear(cast(nn.Linear, last), parts),
        )

    def _couplings(self, flow: Flow | None) -> list[_MLP]:
        return [] if flow is None else [cast(_MLP, self._mlp(net, 2)) for net in flow.nets]

    def _output(self, module: nn.Module | None) -> Packed | None:
        """The last layer of an MLP in one part: its outputs themselves, not what is drawn from them."""
        return None if module is None else self._linear(cast(nn.Linear, cast(MLP, module)[-1]))

    def _blocks(self, stack: Stack) -> list[_Block]:
        return [self._pack_block(block) for block in stack.blocks]

    def _pack_block(self, block: Block) -> _Block:
        """Weights with the real parts of all states first, then the imaginary ones; the input's scale is in them."""
        ssm = block.ssm
        a, scale = (t.detach() for t in ssm.gates())
        order = torch.arange(len(scale), device=a.device).view(-1, 2).T.reshape(-1)
        return _Block(
            None if block.linear else _norm(block.norm),
            pack((ssm.input.weight * scale[:, None])[order], None, self._precision),
            a.contiguous(),
            pack(ssm.output.weight[:, order], ssm.output.bias, self._precision),
            ssm.skip.detach().contiguous(),
            None if block.linear else self._linear(block.mix, 2),
        )


def _buckets(model: VSSM) -> set[int]:
    """Steps of graphs; those of a decoder that reads earlier values have whole windows, some kernels each."""
    if model.past is None:
        return {*STEPS, min(model.config.length, max(STEPS))}
    window = best_window(model.past.config.near)
    whole = min(-(-model.config.length // window), WINDOWS)
    return {window * count for count in (*(1 << k for k in range(WINDOWS.bit_length())), whole)}


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(torch.stack([module.weight, module.bias]).detach(), module.eps)
