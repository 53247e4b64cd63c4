"""Rivals: causal, normalised, and their steps from a cache are what the full pass says."""

import itertools
import json
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.vssm.baselines.rivals import FAMILIES, OBSERVATIONS, rival
from vssm.baselines import Mamba, MambaConfig, Rival
from vssm.baselines.cache import Cache, start
from vssm.baselines.generate import generate
from vssm.baselines.mamba import scan


def features_by_steps(model: Rival, e: Tensor) -> Tensor:
    """Features (B, T, W) of inputs e (B, T, W), one step at a time from an empty cache."""
    cached, prepared = model.empty(e.shape[0], e.shape[1] + 3), model.prepare()
    made = []
    for t in range(e.shape[1]):
        seen = torch.arange(min(t + 2, e.shape[1] + 3))
        made.append(model.step(e[:, t], torch.tensor([t]), seen, cached, prepared))
    return torch.stack(made, dim=1)


@given(family=st.sampled_from(FAMILIES), batch=st.integers(1, 4), steps=st.integers(1, 25))
@settings(max_examples=30, deadline=None)
def test_cached_steps_equal_the_full_pass(family: str, batch: int, steps: int) -> None:
    model = rival(family).double()
    e = torch.randn(batch, steps, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(steps))
    with torch.no_grad():
        assert torch.allclose(features_by_steps(model, e), model.stack(e), atol=1e-10)


@given(family=st.sampled_from(FAMILIES), first=st.integers(1, 12), steps=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_a_prefix_in_two_passes_equals_one(family: str, first: int, steps: int) -> None:
    model = rival(family).double()
    e = torch.randn(2, first + steps, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(first))
    with torch.no_grad():
        cached = model.empty(2, first + steps)
        model.prefill(e[:, :first], 0, cached)
        last = model.prefill(e[:, first:], first, cached)
        assert torch.allclose(last, model.stack(e)[:, -1], atol=1e-10)


@pytest.mark.parametrize("kind", sorted(OBSERVATIONS))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_changes_nothing_before_the_next_step(family: str, kind: str) -> None:
    model = rival(family, kind).double()
    x = torch.as_tensor(model.float().generate(num_samples=2, length=12, seed=1).values)
    model.double()
    other = x.clone()
    other[:, 5] = x[:, 5] + 1.0 if kind == "real" else (x[:, 5] + 1) % 2
    first = model.start.expand(2, 1, -1)
    with torch.no_grad():
        params = [model.params(model.stack(torch.cat([first, model.embedded(v[:, :-1])], dim=1))) for v in (x, other)]
    assert torch.equal(params[0][:, :6], params[1][:, :6])
    assert not torch.allclose(params[0][:, 6], params[1][:, 6])


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_of_all_sequences_sum_to_one(family: str) -> None:
    model = rival(family, size=1).double()
    x = torch.tensor(list(itertools.product(range(2), repeat=7)))[..., None]
    assert model.log_likelihood(x).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_the_selective_scan_is_its_formula() -> None:
    random = torch.Generator().manual_seed(0)
    dt, x = (torch.rand(2, 9, 3, dtype=torch.float64, generator=random) for _ in range(2))
    A = -torch.rand(4, 3, dtype=torch.float64, generator=random)
    B, C = (torch.randn(2, 9, 4, dtype=torch.float64, generator=random) for _ in range(2))
    h = torch.randn(2, 4, 3, dtype=torch.float64, generator=random)
    found, last = scan(dt, A, B, C, x, h)
    for t in range(9):
        h = torch.exp(dt[:, t, None] * A) * h + (dt[:, t] * x[:, t])[:, None] * B[:, t, :, None]
        assert torch.allclose(found[:, t], torch.einsum("bn,bne->be", C[:, t], h), atol=1e-12)
    assert torch.allclose(last, h, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_a_mamba_has_the_outputs_of_transformers() -> None:
    """Hugging Face transformers' own Mamba, given the same weights; its last norm is not part of ours."""
    from transformers import MambaConfig as TheirConfig
    from transformers import MambaModel

    torch.manual_seed(0)
    ours = Mamba(MambaConfig(length=20, size=1, observation={"kind": "bernoulli"}, width=24, layers=3))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = MambaModel(TheirConfig(vocab_size=2, hidden_size=24, num_hidden_layers=3, layer_norm_epsilon=1e-5))
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        other.load_state_dict(mine.state_dict(), strict=True)
    e = torch.randn(2, 20, 24)
    with torch.no_grad():
        expected = theirs(inputs_embeds=e).last_hidden_state
        for features in (ours.stack(e), features_by_steps(ours, e)):
            assert torch.allclose(theirs.norm_f(features), expected, atol=1e-5)


# -- generation -------------------------------------------------------------------------------------------------------


def run(model: Rival, **arguments: Any) -> Any:
    """Eager, which needs no compilation."""
    given = {"num_samples": 3, "length": 12, "seed": 7, "prefix": None, "temperature": 1.0, "cache": None, **arguments}
    return generate(model, **given, way="eager")


@pytest.mark.parametrize("kind", sorted(OBSERVATIONS))
@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_from_a_cache_is_as_never_having_stopped(family: str, kind: str) -> None:
    model = rival(family, kind)
    whole = run(model, length=150)
    part = run(model, length=61)
    assert (part.cache.position, whole.cache.position) == (61, 150)
    rest = run(model, num_samples=None, length=89, cache=part.cache)
    assert np.allclose(np.concatenate([part.values, rest.values], axis=1), whole.values, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_is_as_having_generated_it(family: str) -> None:
    model = rival(family, "real")
    whole = run(model, num_samples=1, length=30)
    after = run(model, num_samples=1, length=10, prefix=whole.values[0, :20])
    assert np.allclose(after.values, whole.values[:, 20:], atol=1e-4)
    many = run(model, num_samples=None, length=10, cache=model.condition(whole.values[0, :20], num_samples=4))
    assert np.allclose(many.values[0], whole.values[0, 20:], atol=1e-4)  # sample 0 has sample 0's noise
    assert not np.allclose(many.values[1], many.values[0], atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_generated_values_follow_the_distribution(family: str) -> None:
    """Frequencies of all sequences of four bits, against their exact probabilities."""
    model = rival(family, size=1)
    values = run(model, num_samples=20_000, length=4).values[..., 0]
    found = np.bincount(values @ np.array([8, 4, 2, 1]), minlength=16) / 20_000
    x = torch.tensor(list(itertools.product(range(2), repeat=4)))[..., None]
    expected = model.log_likelihood(x).exp().numpy()
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / 20_000)
    assert expected.max() > 3 * expected.min()  # far from even


@pytest.mark.parametrize("family", FAMILIES)
def test_the_compiled_step_is_the_eager_one(family: str) -> None:
    command = [sys.executable, "-m", "tests.vssm.baselines.compiled_step", family]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["same"] > 0.99  # a bit whose odds are even may fall otherwise
    assert found["position"] == 70


def test_a_clone_stands_where_its_cache_stood() -> None:
    model = rival("transformer")
    part = run(model, length=10)
    kept = part.cache.clone()
    first = run(model, num_samples=None, length=100, cache=part.cache)
    again = run(model, num_samples=None, length=100, cache=kept)
    assert np.array_equal(first.values, again.values)


def test_a_cache_that_grows_lets_go_of_its_smaller_buffers() -> None:
    part = run(rival("transformer"), length=10)
    smaller = weakref.ref(part.cache.slot)
    more = run(part.cache.model, num_samples=None, length=200, cache=part.cache)
    assert smaller() is None
    assert more.cache.slot.capacity > 210


@pytest.mark.parametrize(("family", "grows"), [("transformer", True), ("mamba", False)])
def test_bytes_of_a_cache(family: str, grows: bool) -> None:
    model = rival(family)
    small, large = model.cache_bytes(10), model.cache_bytes(1000)
    assert (large > 50 * small) == grows
    assert grows or small == large
    assert model.cache_bytes(10, num_samples=3) == 3 * small
    cache: Cache = start(model, 3, 10)
    cache.position = 10
    assert cache.nbytes == 3 * small


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"temperature": 11.0}, "temperature must be"),
        ({"prefix": np.full((2, 3), 2)}, "whole numbers from 0 to 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(rival("mamba"), **arguments)
