"""Prefixes of bidirectional models: read whole, by each window for itself, and on no other terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.vssm.models import ENCODED, build
from tests.vssm.test_generation import same
from vssm import VSSM, ModelConfig, ObservationError, Window
from vssm.compiled.networks import CompiledNetworks
from vssm.networks import Networks, ReferenceNetworks
from vssm.particles import Particles
from vssm.passes import Pass

BOTH: dict[str, Any] = {"kind": "bidirectional", "width": 21, "state": 6, "layers": 2, "prefixes": True}
MODELS = {kind: build(kind, encoder=BOTH) for kind in ENCODED}
PATHS: dict[str, Callable[[VSSM], Networks]] = {"compiled": CompiledNetworks, "reference": ReferenceNetworks}


def prefix(model: VSSM, steps: int, seed: int = 9) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = model.generate(length=steps, seed=seed).values[0]
    return values


@pytest.mark.parametrize("kind", ENCODED)
def test_company_of_other_lengths_changes_no_bit(kind: str) -> None:
    model = MODELS[kind]
    lengths, samples = (1, 40, 7, 200, 12), (3, 1, 30, 2, 5)
    windows = [
        Window(model.start(n, seed), steps, prefix(model, steps, seed))
        for seed, (steps, n) in enumerate(zip(lengths, samples, strict=True))
    ]
    for window, together in zip(windows, model.advance(windows), strict=True):
        alone = model.advance([window])[0]
        assert same(alone.state, together.state)
        one = model.advance([Window(model.start(1, window.state.seed), window.length, window.observed)])[0]
        assert torch.equal(one.state.tensors["level0"][0], alone.state.tensors["level0"][0])


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize("kind", ["rows", "levels"])
@torch.no_grad()
def test_a_pass_is_what_the_model_infers(kind: str, path: str) -> None:
    """The latents of prefixes of several lengths are those of `infer` on each by itself, with the same noise."""
    model = MODELS[kind]
    networks = PATHS[path](model)
    windows = [Window(model.start(2, seed), steps, prefix(model, steps)) for seed, steps in enumerate((5, 31, 17))]
    for window, advance in zip(windows, Pass(model, networks, windows).run(), strict=True):
        a_pass = Pass(model, networks, [window])
        noise = [
            a_pass.counters.draw(level.latent.noise_kind, 32 + k, window.length, level.latent.size)
            for k, level in enumerate(model.levels)
        ]
        d = None
        for k, draw in enumerate(model.infer(torch.from_numpy(window.observed).expand(2, -1, -1), noise)[0]):
            stack = model.levels[k].stack
            d, state = model.levels[k].decode(draw.z, d, stack.start(2, draw.z))
            assert torch.allclose(advance.state.tensors[f"level{k}"], state, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ENCODED)
@torch.no_grad()
def test_compiled_encoder_is_the_modules(kind: str) -> None:
    model = MODELS[kind]
    for steps in (1, 2, 77):
        features = torch.randn(1, steps, model.embed.in_features)
        found, expected = (networks(model).encode_whole(features) for networks in PATHS.values())
        assert torch.allclose(found, expected, atol=1e-4)


def test_the_last_observed_step_reaches_the_first_latent() -> None:
    model = MODELS["rows"]
    x = prefix(model, 12)
    other = x.copy()
    other[-1] = 1 - other[-1]
    features = [model.encode(torch.from_numpy(v)[None], None) for v in (x, other)]
    assert not torch.equal(features[0][:, 0], features[1][:, 0])
    states = [model.condition(v, seed=3) for v in (x, other)]
    assert not same(states[0], states[1])


def test_particles_and_resuming() -> None:
    model = MODELS["rows"]
    x = prefix(model, 6)
    whole = model.generate(prefix=x, num_samples=2, length=20, seed=1, num_particles=8)
    head = model.generate(prefix=x, num_samples=2, length=7, seed=1, num_particles=8)
    rest = model.generate(state=head.state, length=13)
    assert np.array_equal(whole.values, np.concatenate([head.values, rest.values], axis=1))
    assert not np.array_equal(whole.values, model.generate(prefix=x, num_samples=2, length=20, seed=1).values)
    both = model.advance([Particles.of(model.start(2, seed), 8).window(x) for seed in (1, 2)])
    assert both[0].log_weight is not None
    assert len(np.unique(both[0].log_weight)) == 16


def test_a_second_prefix_is_refused() -> None:
    model = MODELS["rows"]
    state = model.condition(prefix(model, 3))
    with pytest.raises(ObservationError, match="at position 3 takes no observed steps"):
        model.condition(prefix(model, 2), state=state)


def test_where_prefixes_are_taken_is_told() -> None:
    assert MODELS["rows"].info()["takes_prefix"] == "start"
    assert build("rows").info()["takes_prefix"] == "anywhere"
    assert build("rows", encoder={**BOTH, "prefixes": False}).info()["takes_prefix"] == "none"


def test_only_a_bidirectional_encoder_says_prefixes() -> None:
    with pytest.raises(ValueError, match="needs kind = 'bidirectional'"):
        build("rows", encoder={**BOTH, "kind": "causal"})


def test_the_option_is_kept_and_older_fingerprints_are_as_they_were() -> None:
    config = MODELS["rows"].config
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    assert "prefixes" not in build("rows").config.model_dump()["encoder"]
