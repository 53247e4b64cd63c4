"""The head of a decoder that reads earlier values, through steps in order, in compiled loops; see `vssm.past`.

    b      (B, T, H)          what the stack knows, before the head's nonlinearity
    e      (B, near + T, F)   features of values, from `near` steps before on; filled step by step
    near   (near, F, H)       weights by distance - 1
    out    (H, P), (P,)       weights and bias of the head's last layer

Values are chosen inside the loop, as their observation's `choose` does it. Every sequence is computed by itself, every
sum in a fixed order, so bits do not depend on the others or on where windows begin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vssm.compiled.exact import limited_exp
from vssm.compiled.kernels import squash
from vssm.observations import Observation
from vssm.observations.bernoulli import BernoulliObservation
from vssm.observations.categorical import CategoricalObservation
from vssm.observations.gaussian import GaussianObservation
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.observations.pixels import draw_step
from vssm.observations.student_t import LOG_SCALE_LIMIT, StudentTObservation
from vssm.parallel import over_threads
from vssm.ssm import MLP

if TYPE_CHECKING:
    from vssm.past import Past

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """Weights of `near` and of the head's last layer; `table` (classes, F) embeds classes, if there are any."""

    near: Floats
    out: Floats
    bias: Floats
    table: Floats


def pack_head(past: Past, observation: Observation) -> Head:
    """The weights as the loops read them."""
    last = cast(nn.Linear, cast(MLP, observation.head)[-1])
    weight = last.weight.new_zeros(last.in_features, 0) if past.near is None else past.near.weight
    near = _array(weight).reshape(len(weight), past.config.near, observation.feature_size)  # (H, near, F)
    each = observation.embedding.weight if isinstance(observation, CategoricalObservation) else torch.zeros(0, 0)
    return Head(
        np.ascontiguousarray(near.transpose(1, 2, 0)),
        np.ascontiguousarray(_array(last.weight).T),
        _array(last.bias),
        _array(each),
    )


def sweep(head: Head, observation: Observation, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """See `Networks.sweep`."""
    rows, steps = b.shape[:2]
    made = np.empty((rows, steps, math.prod(observation.params_shape)), np.float32)
    weights = head.near, head.out, head.bias
    values = torch.empty(rows, steps, observation.size, dtype=observation.dtype)
    params = observation.shaped(torch.from_numpy(made))
    features, given = e.numpy(), noise.contiguous().numpy().reshape(rows, steps, -1)
    if isinstance(observation, BernoulliObservation):
        _run(_bits, rows, *weights, b.numpy(), features, given, made, values.numpy())
    elif isinstance(observation, CategoricalObservation):
        _run(_classes, rows, *weights, head.table, b.numpy(), features, given, made, values.numpy())
    elif isinstance(observation, LogisticMixtureObservation):
        shape = observation.shape
        sizes = shape.components, shape.channels, shape.levels, shape.context
        _run(_pixels, rows, *weights, *sizes, b.numpy(), features, given, made, values.numpy())
    else:
        assert isinstance(observation, GaussianObservation | StudentTObservation)
        _run(_numbers, rows, *weights, b.numpy(), features, given, made, values.numpy())
    return values, params


def _array(tensor: Tensor) -> Floats:
    return cast(Floats, tensor.detach().float().contiguous().numpy())


def _run(kernel: Any, rows: int, *arguments: Any) -> None:
    over_threads(rows, rows, 1, kernel, *arguments)


# error_model="numpy" leaves out the check for division by zero, which would keep the loops from becoming SIMD.


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _parameters(near, out, bias, known, e, t, hidden, made):  # type: ignore[no-untyped-def]
    """Parameters of step t of one sequence, from what is `known` of it (H,), into `made` (P,)."""
    count, width = near.shape[0], hidden.shape[0]
    for h in range(width):
        hidden[h] = known[h]
    for k in range(count):
        features = e[count + t - 1 - k]
        for f in range(features.shape[0]):
            value, weight = features[f], near[k, f]
            for h in range(width):
                hidden[h] = hidden[h] + value * weight[h]
    for h in range(width):
        hidden[h] = hidden[h] * squash(hidden[h])
    for p in range(made.shape[0]):
        made[p] = bias[p]
    for h in range(width):
        value, weight = hidden[h], out[h]
        for p in range(made.shape[0]):
            made[p] = made[p] + value * weight[p]


@numba.njit(cache=True, nogil=True)
def _bits(first, last, near, out, bias, b, e, noise, made, values):  # type: ignore[no-untyped-def]
    """All steps of sequences `first` to `last`; logistic noise."""
    count, hidden = near.shape[0], np.empty(out.shape[0], np.float32)
    for r in range(first, last):
        for t in range(b.shape[1]):
            _parameters(near, out, bias, b[r, t], e[r], t, hidden, made[r, t])
            for i in range(values.shape[2]):
                one = noise[r, t, i] < made[r, t, i]
                values[r, t, i] = one
                e[r, count + t, i] = 1.0 if one else -1.0


@numba.njit(cache=True, nogil=True)
def _classes(first, last, near, out, bias, table, b, e, noise, made, values):  # type: ignore[no-untyped-def]
    """All steps of sequences `first` to `last`; Gumbel noise, the first of equal classes."""
    count, hidden = near.shape[0], np.empty(out.shape[0], np.float32)
    classes, each = table.shape
    for r in range(first, last):
        for t in range(b.shape[1]):
            _parameters(near, out, bias, b[r, t], e[r], t, hidden, made[r, t])
            for i in range(values.shape[2]):
                best = 0
                for c in range(1, classes):
                    now, before = i * classes + c, i * classes + best
                    if made[r, t, now] + noise[r, t, now] > made[r, t, before] + noise[r, t, before]:
                        best = c
                values[r, t, i] = best
                for f in range(each):
                    e[r, count + t, i * each + f] = table[best, f]


@numba.njit(cache=True, nogil=True)
def _pixels(first, last, near, out, bias, K, C, levels, context, b, e, noise, made, values):  # type: ignore[no-untyped-def]
    """All steps of sequences `first` to `last`; Gumbel and logistic noise, see `vssm.observations.pixels`."""
    count, hidden = near.shape[0], np.empty(out.shape[0], np.float32)
    pixels, scale = values.shape[2] // C, np.float32(2.0 / (levels - 1))
    for r in range(first, last):
        for t in range(b.shape[1]):
            _parameters(near, out, bias, b[r, t], e[r], t, hidden, made[r, t])
            draw_step(made[r, t].reshape(-1, pixels), noise[r, t], K, C, levels, context, values[r, t])
            for i in range(values.shape[2]):
                e[r, count + t, i] = values[r, t, i] * scale - np.float32(1.0)


@numba.njit(cache=True, nogil=True)
def _numbers(first, last, near, out, bias, b, e, noise, made, values):  # type: ignore[no-untyped-def]
    """All steps of sequences `first` to `last`; noise around locations, scaled where there are log scales as well."""
    count, hidden = near.shape[0], np.empty(out.shape[0], np.float32)
    size = values.shape[2]
    each = out.shape[1] // size
    for r in range(first, last):
        for t in range(b.shape[1]):
            _parameters(near, out, bias, b[r, t], e[r], t, hidden, made[r, t])
            for i in range(size):
                scale = np.float32(1.0)
                if each == 2:
                    scale = limited_exp(made[r, t, 2 * i + 1], LOG_SCALE_LIMIT)
                value = made[r, t, each * i] + scale * noise[r, t, i]
                values[r, t, i] = value
                e[r, count + t, i] = value
