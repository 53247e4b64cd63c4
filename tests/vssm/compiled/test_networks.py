"""Compiled networks against the torch modules, and their bits against themselves: cut, shared, on any threads."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.vssm.models import ENCODED, build
from vssm import VSSM, Window
from vssm.compiled import kernels
from vssm.compiled.networks import CompiledNetworks
from vssm.exact import exact_exp
from vssm.networks import Networks, ReferenceNetworks

ODD: dict[str, Any] = {
    "decoder": {"width": 35, "state": 9},
    "encoder": {"kind": "causal", "width": 21, "state": 3, "layers": 1},
}
LINEAR: dict[str, Any] = {"decoder": {"width": 18, "state": 5, "linear": True}}
FLAT: dict[str, Any] = {
    "levels": [{"kind": "gaussian", "size": 3, "layers": 0}, {"kind": "gaussian", "size": 17, "layers": 3}]
}
MODELS = {kind: build(kind) for kind in ENCODED} | {
    "odd": build("rows", **ODD),
    "linear": build("pixels", **LINEAR),
    "flat": build("series", **FLAT),
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(networks: Networks, model: VSSM, x: Tensor, noise: list[Tensor], last: Tensor) -> list[Tensor]:
    """Everything that a pass asks of networks, from random states on."""
    random = torch.Generator().manual_seed(1)
    states = {k: torch.randn(v.shape, generator=random) for k, v in model.start(x.shape[0], 0).tensors.items()}
    seen = model.gaussian_noise(noise)
    e, encoder = networks.encode(model.encoder_features(x, seen, states.get("noise")), states["encoder"], last)
    results = [e.clone(), encoder]
    for latents in ("prior", "posterior"):
        d: Tensor | None = None
        for k in range(len(model.levels)):
            z = networks.prior(k, d, noise[k]) if latents == "prior" else networks.posterior(k, e, d, noise[k])
            prior = networks.prior_params(k, d)
            results += [networks.posterior_params(k, e, d), *([] if prior is None else [prior])]
            d, state = networks.decode(k, z, d, states[f"level{k}"], last)
            results += [z, state]
        assert d is not None
        results += [d.clone(), networks.params(d)]
    return results


def inputs(model: VSSM, rows: int, steps: int, seed: int) -> tuple[Tensor, list[Tensor], Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(model.generate(num_samples=rows, length=steps, seed=seed).values)
    last = torch.randint(0, steps, (rows,), generator=random)
    return x, model.draw_noise(x, random), last


@given(kind=st.sampled_from(sorted(MODELS)), rows=st.integers(1, 9), steps=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_compiled_equals_the_modules(kind: str, rows: int, steps: int) -> None:
    model = MODELS[kind]
    arguments = inputs(model, rows, steps, rows)
    with torch.no_grad():
        found = run(CompiledNetworks(model), model, *arguments)
        expected = run(ReferenceNetworks(model), model, *arguments)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().amax()) if other.numel() else 0.0)


@given(kind=st.sampled_from(sorted(MODELS)), rows=st.integers(1, 20), steps=st.integers(20, 300))
@settings(max_examples=40, deadline=None)
def test_bits_do_not_depend_on_threads(kind: str, rows: int, steps: int) -> None:
    """Few sequences on many threads enter, scan and leave in turns; many are shared out."""
    model = MODELS[kind]
    arguments = inputs(model, rows, steps, rows)
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        with torch.no_grad():
            results.append(run(CompiledNetworks(model), model, *arguments))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_weight_changed_in_place_is_seen() -> None:
    model = build("rows")
    before = model.generate(num_samples=4, length=12, seed=1)
    model.levels[0].inject.weight.mul_(3.0)
    after = model.generate(num_samples=4, length=12, seed=1)
    assert not np.array_equal(before.values, after.values)
    model.levels[0].inject.weight.div_(3.0)
    assert np.array_equal(model.generate(num_samples=4, length=12, seed=1).values, before.values)


def test_the_compiled_exponential_has_the_bits_of_the_torch_one() -> None:
    log_scale = torch.linspace(-9, 9, 20_000).view(-1, 4)
    params = torch.cat([torch.zeros_like(log_scale), log_scale], dim=1).numpy()
    z = np.empty((len(params), 4), np.float32)
    kernels.moments(0, len(z), params, 8.0, np.ones_like(z), z)
    assert np.array_equal(z, exact_exp(log_scale.clamp(-8.0, 8.0)).numpy())


def test_a_block_of_steps_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of very different lengths leave a pass one by one, whatever the size of its blocks."""
    model = MODELS["rows"]
    windows = [Window(model.start(n, n), length) for n, length in ((3, 50), (1, 7), (5, 23), (2, 50), (1, 1))]
    results: list[list[Any]] = []
    for block_rows in (1, 64, 4096):
        monkeypatch.setattr(CompiledNetworks, "block_rows", block_rows)
        results.append([(a.values, a.state.to_bytes()) for a in model.advance(windows)])
    for other in results[1:]:
        for (values, state), (others, other_state) in zip(results[0], other, strict=True):
            assert np.array_equal(values, others)
            assert state == other_state


def test_a_pass_gives_torch_its_threads_back() -> None:
    model = MODELS["rows"]
    torch.set_num_threads(2)
    model.generate(num_samples=3, length=200, seed=1)
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="window's length"):
        model.advance([Window(model.start(1, 0), 0)])
    assert torch.get_num_threads() == 2
