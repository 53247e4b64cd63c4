"""What generation keeps between steps: buffers that stay where they are, and the `Cache` that a caller holds.

A `Slot` is one set of buffers, allocated once; captured CUDA graphs work on its addresses. A `Cache` says how far the
sequences in a slot are. When a cache is forgotten its slot is free, and the next generation of its size takes it over.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vssm import scaling
from vssm.baselines.rival import Rival
from vssm.noise import Counters

_LEAST_CAPACITY = 64
_NOISE_VALUES = 1 << 20  # drawn at once
_MOST_STEPS = 1024  # drawn at once


@dataclass(eq=False)
class Slot:
    """Buffers of B sequences with room for `capacity` steps; noise and values of up to S steps at a time."""

    cached: tuple[Tensor, ...]
    prepared: tuple[Tensor, ...]
    pending: Tensor  # (B, W) input of the next step
    position: Tensor  # (1,) its place in the sequence
    index: Tensor  # (1,) its place in noise and out
    noise: Tensor  # (S, B, ...)
    out: Tensor  # (S, B, size)
    steps: Tensor  # (capacity,) 0, 1, 2, ...
    graphs: dict[int, Any] = field(default_factory=dict)  # captured steps, by how much of the cache they look at

    @property
    def num_samples(self) -> int:
        return len(self.pending)

    @property
    def capacity(self) -> int:
        return len(self.steps)


class Cache:
    """Where `num_samples` sequences stand after `position` steps. Generation moves it on in place; `clone` keeps it.

    `scale` (1, 2 x size) on the CPU is that of all sequences, where the model is scaled by its prefix.
    """

    def __init__(self, model: Rival, slot: Slot, position: int) -> None:
        self.model, self.slot, self.position = model, slot, position
        self.scale = None if model.config.scaling == "none" else scaling.initial(1, model.config.size)
        self._free_later()

    def _free_later(self) -> None:
        self._freeing = weakref.finalize(self, _FREE.__setitem__, self.model, self.slot)
        self._freeing.atexit = False

    @property
    def num_samples(self) -> int:
        return self.slot.num_samples

    @property
    def nbytes(self) -> int:
        """Bytes that must be kept to go on from here; the buffers, made for more steps, may be larger."""
        return self.model.cache_bytes(self.position, self.num_samples)

    def clone(self) -> Cache:
        """A cache of its own that stands at the same place."""
        other = start(self.model, self.num_samples, self.position)
        _copy(self.slot, other.slot)
        other.position, other.scale = self.position, self.scale
        return other

    def reserve(self, steps: int) -> None:
        """Make room for `steps` further steps."""
        if self.model.grows and self.position + steps >= self.slot.capacity:
            larger = make_slot(self.model, self.num_samples, self.position + steps)
            _copy(self.slot, larger)
            self._freeing.detach()  # or the smaller buffers would live as long as this cache
            self.slot = larger
            self._free_later()


_FREE: weakref.WeakKeyDictionary[Rival, Slot] = weakref.WeakKeyDictionary()  # the slot last let go, of each model


def release(model: Rival) -> None:
    """Let go of the buffers that the next generation would take over."""
    _FREE.pop(model, None)


def start(model: Rival, num_samples: int, steps: int) -> Cache:
    """The cache of `num_samples` sequences before their first step, with room for `steps`."""
    slot = _FREE.pop(model, None)
    if slot is None or slot.num_samples != num_samples or slot.capacity != room(model, steps):
        del slot  # its memory is free before the other's is taken
        slot = make_slot(model, num_samples, steps)
    for tensor in slot.cached:
        tensor.zero_()
    for old, new in zip(slot.prepared, model.prepare(), strict=True):
        old.copy_(new)
    slot.pending.copy_(model.start.expand(num_samples, -1))
    return Cache(model, slot, 0)


def room(model: Rival, steps: int) -> int:
    """The capacity of a slot for `steps`: a power of two above them, since a full cache is compiled by itself."""
    return max(_LEAST_CAPACITY, 1 << steps.bit_length()) if model.grows else _LEAST_CAPACITY


def make_slot(model: Rival, num_samples: int, steps: int) -> Slot:
    """Buffers whose content is not yet anything."""
    capacity, device = room(model, steps), model.device
    one = torch.zeros(1, dtype=torch.int64, device=device)
    sample = torch.arange(num_samples, device=device)
    counters = Counters(torch.zeros_like(sample), sample, torch.zeros_like(sample))
    noise = model.observation.draw_noise(counters, 1, torch.ones(num_samples, device=device)).transpose(0, 1)
    at_once = min(_MOST_STEPS, max(1, _NOISE_VALUES // noise.numel()))
    return Slot(
        cached=model.empty(num_samples, capacity),
        prepared=model.prepare(),
        pending=model.start.new_zeros(num_samples, model.config.width),
        position=one,
        index=one.clone(),
        noise=noise.new_zeros(at_once, *noise.shape[1:]).to(model.start.dtype),
        out=torch.zeros(at_once, num_samples, model.config.size, dtype=model.observation.dtype, device=device),
        steps=torch.arange(capacity, device=device),
    )


def _copy(source: Slot, target: Slot) -> None:
    """Copy where sequences stand into a slot with at least as much room."""
    for old, new in zip(source.cached, target.cached, strict=True):
        new[:, :, : old.shape[2]].copy_(old) if new.shape[2] >= old.shape[2] else new.copy_(old[:, :, : new.shape[2]])
    target.pending.copy_(source.pending)
