"""Counter-based noise: every random number is a pure function of (seed, sample, position, purpose).

This module knows nothing about models or batches. Whoever asks for the noise of one step of one sample gets
the same bits, wherever that step stands in a batch, a chunk, a process or a machine.

    words    Philox 4x32, 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
    normal   inverse distribution function, algorithm AS 241 (Wichura, 1988)
    logistic log(u / (1 - u))
    gumbel   -log(-log(u))

Three implementations give the same bits. The torch one runs on any device and is the reference; the compiled one
is used on the CPU, `vssm.cuda.noise` on CUDA. All use only operations that IEEE 754 rounds exactly (+ - * / sqrt, in
float64, never contracted to fused multiply-adds), which is why bits do not depend on vector width, thread or device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import torch
from torch import Tensor

MAX_SEED = 2**63 - 1
MAX_POSITION = 2**48
MAX_SAMPLES = 2**32
MAX_PARTICLES = 64  # of one sample, see `particle`

Kind = Literal["word", "normal", "logistic", "gumbel"]


class Purpose(IntEnum):
    """What a random number is for; level k of the latents adds k to PRIOR or POSTERIOR."""

    OBSERVATION = 0
    PRIOR = 16
    POSTERIOR = 32
    CHOICE = 48  # among the particles of a sample


@dataclass(frozen=True)
class Counters:
    """Which steps a batch of rows is about to take; one entry a row, int64 tensors of shape (rows,).

    A sample is below 2^32, or one that `particle` made.
    """

    seed: Tensor
    sample: Tensor
    position: Tensor

    def draw(self, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
        """Noise of `steps` steps from each row's position on: float32 (rows, steps, width); int64 for "word"."""
        if self.seed.device.type == "cpu":
            from vssm.compiled.noise import draw  # needs the constants below

            return draw(self, kind, purpose, steps, width)
        if self.seed.device.type == "cuda":
            from vssm.cuda.noise import draw  # needs Triton, which the CPU does not

            return draw(self, kind, purpose, steps, width)
        return draw_reference(self, kind, purpose, steps, width)


def particle(sample: Tensor, number: Tensor) -> Tensor:
    """The sample (int64) whose noise particle `number` of `sample` has; particle 0 has the sample's own.

    Philox sees the number beside the purpose, in bits that no purpose uses, so no two particles share noise.
    """
    return sample + (number << 32)


# -- the reference: torch operations, any device ----------------------------------------------------------------

MASK = 0xFFFFFFFF
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox 4x32-10 on int64 tensors that hold 32-bit words; the products wrap, their bits do not."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


def draw_reference(counters: Counters, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
    """`Counters.draw` in plain torch operations, on the device of the counters."""
    device = counters.seed.device
    blocks = -(-width // 4)
    position = counters.position[:, None, None] + torch.arange(steps, device=device)[None, :, None]
    block = torch.arange(blocks, device=device)[None, None, :]
    shape = (position.shape[0], steps, blocks)
    c0 = (position & MASK).expand(shape)
    c1 = ((position >> 32) << 16) + block
    c2 = (counters.sample & MASK)[:, None, None].expand(shape)
    c3 = (purpose + ((counters.sample >> 32) << 8))[:, None, None].expand(shape)
    k0 = (counters.seed & MASK)[:, None, None].expand(shape)
    k1 = ((counters.seed >> 32) & MASK)[:, None, None].expand(shape)
    words = torch.stack(philox((c0, c1, c2, c3), (k0, k1)), dim=-1).flatten(2)[..., :width]  # (R, T, width)
    if kind == "word":
        return words
    u = (words.double() + 0.5) * 2.0**-32
    transform = {"normal": normal_quantile, "logistic": _logistic, "gumbel": _gumbel}[kind]
    return transform(u).float()


def exact_log(x: Tensor) -> Tensor:
    """log of positive normal float64 numbers from exactly rounded operations; relative error below 1e-15."""
    mantissa, exponent = torch.frexp(x)
    small = mantissa < SQRT_HALF
    mantissa = torch.where(small, mantissa * 2.0, mantissa)
    power = exponent.double() - small.double()
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return power * LN2 + 2.0 * (s * _horner(s * s, ATANH))


def normal_quantile(u: Tensor) -> Tensor:
    """Inverse of the standard normal distribution function for u in [2^-33, 1 - 2^-33], float64."""
    q = u - 0.5
    r = 0.180625 - q * q
    centre = q * _horner(r, AS241_A) / _horner(r, AS241_B)
    tail_u = torch.where(q < 0, u, 1.0 - u)
    t = torch.sqrt(-exact_log(tail_u)) - 1.6
    tail = _horner(t, AS241_C) / _horner(t, AS241_D)
    return torch.where(q.abs() <= 0.425, centre, torch.where(q < 0, -tail, tail))


def _logistic(u: Tensor) -> Tensor:
    return exact_log(u) - exact_log(1.0 - u)


def _gumbel(u: Tensor) -> Tensor:
    return -exact_log(-exact_log(u))


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


LN2 = math.log(2.0)
SQRT_HALF = math.sqrt(0.5)
ATANH = tuple(1.0 / (2 * k + 1) for k in range(11))
# AS 241, PPND16: central region and the tail up to |z| = 6.6; 32-bit words reach 6.2.
AS241_A = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
AS241_B = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)  # fmt: skip
AS241_C = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
AS241_D = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip
