"""Generation by a rival: one step after another from a cache; a prefix in one parallel pass before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vssm import scaling
from vssm.baselines.cache import Cache, start
from vssm.baselines.rival import Rival
from vssm.baselines.stepping import Way, run_steps
from vssm.generation import MAX_TEMPERATURE
from vssm.noise import MAX_SEED, Counters

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Generated:
    """values (num_samples, length, size), and the cache to go on from."""

    values: Array
    cache: Cache


def generate(
    model: Rival,
    num_samples: int | None,
    length: int | None,
    seed: int,
    prefix: Any,
    temperature: float,
    cache: Cache | None,
    way: Way = "auto",
) -> Generated:
    """See `Rival.generate`."""
    if cache is not None and num_samples not in (None, cache.num_samples):
        raise ValueError(f"num_samples comes from the cache ({cache.num_samples}); leave it out")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
    if not 0.0 <= temperature <= MAX_TEMPERATURE:
        raise ValueError(f"temperature must be from 0 to {MAX_TEMPERATURE:g}, not {temperature}")
    observed = None if prefix is None else model.observation.check(prefix)
    before = (0 if cache is None else cache.position) + (0 if observed is None else len(observed))
    steps = length if length is not None else max(0, model.config.length - before)
    if steps < 1:
        raise ValueError(f"length must be at least 1, not {steps}")
    if cache is None:
        cache = start(model, 1 if num_samples is None else num_samples, before + steps)
    with torch.no_grad():
        if observed is not None and len(observed):
            cache = _observe(model, cache, observed)
        return Generated(_steps(model, cache, steps, seed, temperature, way), cache)


def condition(model: Rival, prefix: Any, num_samples: int) -> Cache:
    """See `Rival.condition`."""
    observed = model.observation.check(prefix)
    with torch.no_grad():
        cache = start(model, 1, max(1, len(observed)))
        cache = _observe(model, cache, observed) if len(observed) else cache
        return cache if num_samples == 1 else _spread(model, cache, num_samples)


def warm_up(model: Rival, num_samples: int, length: int) -> None:
    """See `Rival.warm_up`."""
    generate(model, num_samples, length, 0, None, 1.0, None)


def _observe(model: Rival, cache: Cache, observed: Array) -> Cache:
    """The cache after observed values (steps, size), the same for all samples."""
    cache.reserve(len(observed))
    slot = cache.slot
    x = torch.from_numpy(observed).to(model.observation.dtype)[None]  # (1, T, size)
    if cache.scale is not None:
        if cache.position == 0:
            cache.scale = torch.from_numpy(scaling.measure(observed))[None]
        x = scaling.normalise(x, cache.scale)
    following = model.embedded(x.to(model.device)).expand(cache.num_samples, -1, -1)  # (B, T, W)
    inputs = torch.cat([slot.pending[:, None], following[:, :-1]], dim=1)
    model.prefill(inputs, cache.position, slot.cached)
    slot.pending.copy_(following[:, -1])
    cache.position += len(observed)
    return cache


def _spread(model: Rival, cache: Cache, num_samples: int) -> Cache:
    """The same place for many samples."""
    many = start(model, num_samples, cache.position)
    for source, target in zip(cache.slot.cached, many.slot.cached, strict=True):
        if model.grows:
            target[:, :, : cache.position].copy_(source[:, :, : cache.position].expand(num_samples, -1, -1, -1))
        else:
            target.copy_(source.expand_as(target))
    many.slot.pending.copy_(cache.slot.pending.expand(num_samples, -1))
    many.position, many.scale = cache.position, cache.scale
    return many


def _steps(model: Rival, cache: Cache, steps: int, seed: int, temperature: float, way: Way) -> Array:
    """`steps` generated steps, as many at a time as the slot has room for noise and values."""
    cache.reserve(steps)
    slot, values = cache.slot, []
    for first in range(0, steps, len(slot.out)):
        count = min(len(slot.out), steps - first)
        slot.noise[:count].copy_(_noise(model, cache, seed, count, temperature))
        run_steps(model, slot, cache.position, count, way)
        values.append(slot.out[:count].to("cpu", copy=True))  # (S, B, size)
        cache.position += count
    made = torch.cat(values).transpose(0, 1)  # (B, T, size)
    return np.ascontiguousarray((made if cache.scale is None else scaling.restore(made, cache.scale)).numpy())


def _noise(model: Rival, cache: Cache, seed: int, steps: int, temperature: float) -> Tensor:
    """Noise of the next steps (S, B, ...), a function of seed, sample and position."""
    sample = torch.arange(cache.num_samples, device=model.device)
    counters = Counters(torch.full_like(sample, seed), sample, torch.full_like(sample, cache.position))
    scale = torch.full((cache.num_samples,), temperature, device=model.device)
    return model.observation.draw_noise(counters, steps, scale).transpose(0, 1)
