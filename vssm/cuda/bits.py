"""The head through many steps in order, for single bits: one kernel, a program a row. See `Networks.sweep`.

    v_t = b_t + near(e_{t-1}, ..., e_{t-n}),  logit_t = last(activate(v_t)),  x_t = noise_t < logit_t

Features of a bit are -1, 1, or 0 before a sequence begins, so the n last of them are two words of bits, and the weights
stay in registers over all steps. They are added up in the order of their distance, whatever the window begins with: the
same bits wherever a sequence is cut. All float32, so a product of features is exact but for its sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from vssm.cuda.linear import _squash
from vssm.observations import Observation
from vssm.observations.bernoulli import BernoulliObservation
from vssm.past import Past
from vssm.ssm import MLP

MOST_NEAR = 63  # bits of a word
MOST_WEIGHTS = 1 << 14  # near x width, padded: 128 registers a thread


@triton.jit(do_not_specialize=["steps"])
def _sweep(  # type: ignore[no-untyped-def]
    b_ptr, e_ptr, noise_ptr, near_ptr, last_ptr, bias_ptr, values_ptr, params_ptr, steps,
    WIDTH: tl.constexpr, WIDTH_P: tl.constexpr, NEAR: tl.constexpr, NEAR_P: tl.constexpr,
):  # fmt: skip
    """b (R, T, WIDTH), e (R, NEAR + T), noise, values and params (R, T), weights padded with zeros."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, WIDTH_P)
    k = tl.arange(0, NEAR_P)  # the step k + 1 before
    near = tl.load(near_ptr + k[:, None] * WIDTH_P + n[None, :])
    last = tl.load(last_ptr + n)
    bias = tl.load(bias_ptr)
    e_row = e_ptr + row * (NEAR + steps)
    before = tl.load(e_row + NEAR - 1 - k, mask=k < NEAR, other=0.0)
    one = k.to(tl.int64) * 0 + 1
    ones = tl.sum(tl.where(before > 0.0, one << k.to(tl.int64), one * 0), 0)
    known = tl.sum(tl.where(before != 0.0, one << k.to(tl.int64), one * 0), 0)
    for t in range(steps):
        at = row * steps + t
        up = ((ones >> k.to(tl.int64)) & 1).to(tl.float32)
        there = ((known >> k.to(tl.int64)) & 1).to(tl.float32)
        e = (2.0 * up - 1.0) * there
        v = tl.load(b_ptr + at * WIDTH + n, mask=n < WIDTH, other=0.0) + tl.sum(near * e[:, None], 0)
        logit = tl.sum(v * _squash(v) * last, 0) + bias
        bit = (tl.load(noise_ptr + at) < logit).to(tl.int64)
        ones = (ones << 1) | bit
        known = (known << 1) | 1
        tl.store(params_ptr + at, logit)
        tl.store(values_ptr + at, bit.to(tl.uint8))
        tl.store(e_row + NEAR + t, 2.0 * bit.to(tl.float32) - 1.0)


@dataclass(frozen=True)
class Bits:
    """Weights of such a head, float32: near (NEAR_P, WIDTH_P), last (WIDTH_P,), bias (1,)."""

    near: Tensor
    last: Tensor
    bias: Tensor
    steps: int
    width: int

    def sweep(self, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """b (R, T, D), e (R, near + T, 1), noise (R, T, 1) -> values (R, T, 1) uint8, logits (R, T, 1, 1)."""
        rows, steps, width = b.shape
        if not e.is_contiguous():
            raise ValueError("features are written in place and must be contiguous")
        values = torch.empty(rows, steps, 1, dtype=torch.uint8, device=b.device)
        params = torch.empty(rows, steps, 1, 1, device=b.device)
        _sweep[(rows,)](
            b.contiguous(), e, noise.contiguous(), self.near, self.last, self.bias, values, params, steps,
            width, self.near.shape[1], self.steps, self.near.shape[0], num_warps=4,
        )  # fmt: skip
        return values, params


def pack_bits(past: Past | None, observation: Observation) -> Bits | None:
    """The weights of a head of single bits that reads its last values; None for any other."""
    if past is None or past.near is None or not isinstance(observation, BernoulliObservation) or observation.size > 1:
        return None
    last = cast(nn.Linear, cast(MLP, observation.head)[-1])
    near, width = past.config.near, last.in_features
    shape = max(16, triton.next_power_of_2(near)), max(16, triton.next_power_of_2(width))
    if near > MOST_NEAR or shape[0] * shape[1] > MOST_WEIGHTS:
        return None
    weight = last.weight.detach()
    packed, row = weight.new_zeros(shape), weight.new_zeros(shape[1])
    packed[:near, :width] = past.near.weight.detach().T
    row[:width] = weight[0]
    return Bits(packed, row, last.bias.detach().clone(), near, width)
