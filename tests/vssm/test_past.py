"""Decoders that read earlier values: exact likelihoods, and passes whose values are those of sequential sampling."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from tests.vssm.models import EXACT, PAST, build, config
from tests.vssm.test_generation import same
from vssm import VSSM, solve
from vssm.compiled.networks import CompiledNetworks
from vssm.networks import ReferenceNetworks
from vssm.noise import Counters
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.past import earlier
from vssm.solve import Budget, Solved

MODELS = {kind: build(kind) for kind in EXACT}
WIDE = {kind: build(kind).double() for kind in EXACT}
FREE = ["exact", "exact classes", "exact pixels"]
FEW_LEVELS = {"kind": "logistic_mixture", "components": 2, "context": False, "levels": 3}


def sequences(model: VSSM, steps: int) -> Tensor:
    """All sequences of a discrete model, (count, steps, size)."""
    classes = range(model.observation.describe()["classes"])
    every = list(itertools.product(classes, repeat=steps * model.config.size))
    return torch.tensor(every).view(-1, steps, model.config.size).to(model.observation.dtype)


def drawn(model: VSSM, rows: int, steps: int) -> Solved:
    """A sample of a latent-free model in float64."""
    zeros = torch.zeros(rows, dtype=torch.int64)
    state = {name: tensor.double() for name, tensor in model.start(rows, 5).tensors.items()}
    noise = outsourced(model, rows, steps)
    return solve.solve(model, ReferenceNetworks(model), zeros, noise, None, state, zeros + steps - 1)


def outsourced(model: VSSM, rows: int, steps: int) -> Tensor:
    """The noise of that sample."""
    zeros = torch.zeros(rows, dtype=torch.int64)
    return model.observation.draw_noise(Counters(zeros + 5, torch.arange(rows), zeros), steps, torch.ones(rows))


@pytest.mark.parametrize(("kind", "steps"), [("exact", 8), ("exact classes", 2), ("exact pixels", 2)])
def test_probabilities_of_all_sequences_add_up_to_one(kind: str, steps: int) -> None:
    model = WIDE[kind] if kind != "exact pixels" else build(kind, observation=FEW_LEVELS).double()
    total = model.log_likelihood(sequences(model, steps)).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-9)


def test_a_density_has_the_integral_one() -> None:
    """Of two steps of a number: x = sinh(y) makes the tails short, so a sum over a grid is as good as the integral."""
    model = build("exact numbers", size=1).double()
    y = torch.linspace(-12.0, 12.0, 400, dtype=torch.float64)
    first, second = (grid.flatten() for grid in torch.meshgrid(y, y, indexing="ij"))
    x = torch.stack([first, second], dim=1).sinh()[..., None]
    with torch.no_grad():
        log_density = model.elbo(x).nats + first.cosh().log() + second.cosh().log()
    assert (log_density.exp().sum() * (y[1] - y[0]) ** 2).item() == pytest.approx(1.0, abs=1e-4)


def intervals(model: VSSM, x: Tensor) -> Tensor:
    """Widths F_t(x_t) - F_t(x_t - 1) (B, T, size) of what the noise of a discrete model lies in."""
    params = model.params(x, None)
    if isinstance(model.observation, LogisticMixtureObservation):
        return pixel_intervals(model.observation, params, x.long())
    if params.shape[-1] == 1:
        probabilities = torch.cat([torch.sigmoid(-params), torch.sigmoid(params)], dim=-1)
    else:
        probabilities = torch.softmax(params, dim=-1)
    upper = probabilities.cumsum(-1)
    lower = torch.cat([torch.zeros_like(upper[..., :1]), upper[..., :-1]], dim=-1)
    at = x.long()[..., None]
    return (upper.gather(-1, at) - lower.gather(-1, at))[..., 0]


def pixel_intervals(model: LogisticMixtureObservation, params: Tensor, x: Tensor) -> Tensor:
    """A pixel a step: each channel's distribution given those before is a mixture whose shares they have changed."""
    K, C, top = model.shape.components, model.shape.channels, model.shape.levels - 1
    rows = params[..., 0]  # (B, T, P)
    shares, links = torch.softmax(rows[..., :K], dim=-1), rows[..., K * (1 + 2 * C) :]
    y, widths = x.to(params.dtype) * 2.0 / top - 1.0, []
    for c in range(C):
        mean = rows[..., K + c * K : K + (c + 1) * K]
        for j in range(c):
            mean = mean + links[..., (c - 1 + j) * K : (c + j) * K] * y[..., j, None]
        scale = rows[..., K + C * K + c * K : K + C * K + (c + 1) * K].exp()
        ends = (torch.sigmoid((y[..., c, None] + side / top - mean) / scale) for side in (1.0, -1.0))
        level = x[..., c, None]
        upper, lower = (torch.where(level == at, float(at > 0), end) for at, end in zip((top, 0), ends, strict=True))
        inside = upper - lower  # (B, T, K)
        widths.append((shares * inside).sum(-1))
        shares = shares * inside / widths[-1][..., None]
    return torch.stack(widths, dim=-1)


@pytest.mark.parametrize("kind", FREE)
def test_the_bound_is_the_divergence_of_the_exact_encoder_from_the_uniform_prior(kind: str) -> None:
    """KL of u_t uniform on (F_t(x_t - 1), F_t(x_t)] from uniform on (0, 1) is -log of the interval's width."""
    model = WIDE[kind]
    x = drawn(model, 5, 9).values
    bound = model.elbo(x)
    assert torch.allclose(bound.nats, intervals(model, x).log().sum((1, 2)), rtol=0, atol=1e-9)
    assert torch.equal(bound.nats, model.log_likelihood(x, num_importance_samples=7))
    assert bound.kl.shape == (5, 0)


def test_noise_of_real_numbers_is_found_again_in_them() -> None:
    """Their exact encoder is a point, (x - location) / scale, and their density that of this noise over the scale."""
    model, rows, steps = WIDE["exact numbers"], 4, 30
    found = drawn(model, rows, steps)
    params = model.params(found.values, None)
    noise, scale = outsourced(model, rows, steps), params[..., 1].exp()
    again = (found.values - params[..., 0]) / scale
    assert torch.allclose(again, noise.double(), rtol=1e-5, atol=1e-5)
    standard = torch.stack([torch.zeros_like(scale), torch.zeros_like(scale)], dim=-1)
    expected = model.observation.log_prob(standard, again) - scale.log().sum(-1)
    assert torch.allclose(model.elbo(found.values).nats, expected.sum(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", FREE)
def test_sampling_meets_the_likelihood_that_is_trained(kind: str) -> None:
    """The parameters that passes find are those of one pass over the finished values."""
    found = drawn(WIDE[kind], 4, 30)
    assert torch.allclose(found.params, WIDE[kind].params(found.values, None), rtol=0, atol=1e-9)


@given(kind=st.sampled_from(EXACT), rows=st.integers(1, 9), length=st.integers(1, 70), window=st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_any_window_gives_the_sequential_sample(kind: str, rows: int, length: int, window: int) -> None:
    model = MODELS[kind]
    sequential = list(model.stream(1, num_samples=rows, length=length, seed=window))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "best_window", lambda near: window)
        found = model.generate(num_samples=rows, length=length, seed=window)
    assert np.array_equal(found.values, np.concatenate([chunk.values for chunk in sequential], axis=1))
    assert same(found.state, sequential[-1].state)
    assert found.passes is not None
    assert (found.passes <= -(-length // 3) + 1).all()


def test_long_windows_take_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["exact"]
    sure = model.generate(num_samples=20, length=60, seed=1).passes
    monkeypatch.setattr(solve, "best_window", lambda near: 60)
    guessed = model.generate(num_samples=20, length=60, seed=1).passes
    assert sure is not None
    assert guessed is not None
    assert (sure == 20).all()
    assert guessed.mean() < 12


def test_a_sampler_that_does_not_verify_is_caught() -> None:
    """The negative control: what comes of taking guesses is not the sequential sample."""
    model = MODELS["exact"]
    exact = model.generate(num_samples=20, length=60, seed=1)
    hasty = model.generate(num_samples=20, length=60, seed=1, max_passes=1)
    assert not np.array_equal(exact.values, hasty.values)
    assert np.array_equal(exact.values[:, :3], hasty.values[:, :3])  # sure after one pass


@given(kind=st.sampled_from(EXACT), length=st.integers(1, 60), most=st.integers(1, 30), chunk=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_passes_are_bounded_and_enough_of_them_are_exact(kind: str, length: int, most: int, chunk: int) -> None:
    model = MODELS[kind]
    found = model.generate(num_samples=3, length=length, seed=4, max_passes=most)
    assert found.passes is not None
    assert found.passes.max() <= max(most, 1)
    if most * 3 >= length:
        assert model.budget(most, length) is None
        assert np.array_equal(found.values, model.generate(num_samples=3, length=length, seed=4).values)
    parts = list(model.stream(chunk, num_samples=3, length=length, seed=4, max_passes=most))
    assert np.array_equal(found.values, np.concatenate([part.values for part in parts], axis=1))


def test_max_passes_is_for_exact_mode_and_at_least_one() -> None:
    with pytest.raises(ValueError, match="max_passes is for a model whose decoder reads earlier values"):
        build("rows").generate(max_passes=3)
    with pytest.raises(ValueError, match="max_passes must be at least 1, not 0"):
        MODELS["exact"].generate(max_passes=0)
    assert Budget.of(5, 60, 2) == Budget(30, 2)
    assert Budget.of(1, 60, 2) == Budget(60, 1)


@pytest.mark.parametrize("kind", [*FREE, "exact numbers"])
def test_a_prefix_is_as_if_it_had_been_generated(kind: str) -> None:
    """Without latents conditioning is exact: the state after x does not depend on how x came about."""
    model = MODELS[kind]
    made = model.generate(num_samples=1, length=17, seed=8)
    seen = model.condition(made.values[0], seed=8)
    assert same(seen, made.state)
    again = model.condition(made.values[0], state=made.state)
    assert again.position == 34


@given(kind=st.sampled_from(EXACT), rows=st.integers(1, 7), steps=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_compiled_far_and_sweep_equal_the_modules(kind: str, rows: int, steps: int) -> None:
    model = MODELS[kind]
    assert model.past is not None
    random = torch.Generator().manual_seed(steps)
    features, width = model.observation.feature_size, model.config.decoder.width
    far, added = torch.randn(rows, steps, 3 * features, generator=random), torch.randn(rows, steps, width)
    state = torch.randn(rows, *model.past.stack.state_shape, generator=random)
    last = torch.randint(0, steps, (rows,), generator=random)
    compiled, modules = CompiledNetworks(model), ReferenceNetworks(model)
    with torch.no_grad():
        (b, after), (expected, theirs) = (
            compiled.far(far, added.clone(), state, last),
            modules.far(far, added, state, last),
        )
        assert torch.allclose(b, expected, rtol=1e-3, atol=1e-4)
        assert torch.allclose(after, theirs, rtol=1e-3, atol=1e-4)
        before = torch.randn(rows, 2 + steps, features, generator=random)
        position = torch.zeros(rows, dtype=torch.int64)
        noise = model.observation.draw_noise(
            Counters(position + 3, torch.arange(rows), position), steps, torch.ones(rows)
        )
        values, params = compiled.sweep(b, before.clone(), noise)
        same_values, same_params = modules.sweep(b, before.clone(), noise)
    assert torch.allclose(values.double(), same_values.double(), rtol=1e-3, atol=1e-3)
    assert torch.allclose(params, same_params, rtol=1e-3, atol=1e-3)


def test_threads_change_nothing() -> None:
    made, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(MODELS["exact classes"].generate(num_samples=33, length=40, seed=3))
    torch.set_num_threads(before)
    assert np.array_equal(made[0].values, made[1].values)
    assert same(made[0].state, made[1].state)


def test_a_head_that_reads_no_values_itself() -> None:
    model = build("exact", past={"near": 0, "far": [1, 2], "layers": 1})
    sequential = np.concatenate([chunk.values for chunk in model.stream(1, num_samples=9, length=40, seed=1)], axis=1)
    found = model.generate(num_samples=9, length=40, seed=1)
    assert np.array_equal(found.values, sequential)
    assert found.passes is not None
    assert found.passes.mean() < 40


def test_earlier_features_by_their_distance() -> None:
    e = torch.arange(1.0, 6.0).view(1, 5, 1)
    assert earlier(e, (1, 3)).tolist() == [[[0, 0], [1, 0], [2, 0], [3, 1], [4, 2]]]
    assert earlier(e, (9,)).tolist() == [[[0]] * 5]


def test_at_first_numbers_and_pixels_are_about_those_before() -> None:
    torch.manual_seed(0)
    numbers, pixels = VSSM(config("exact numbers")), VSSM(config("exact pixels", past={**PAST, "near": 5, "far": [6]}))
    x = torch.randn(3, 9, 2)
    location = numbers.params(x, None)[..., 0]
    assert (location[:, 1:] - x[:, :-1]).abs().max() < 0.2
    levels = torch.randint(0, 256, (3, 12, 3), dtype=torch.uint8)
    y = pixels.observation.embed(levels)
    expected = 0.75 * y[:, 4:-1] + 0.65 * y[:, 1:-4] - 0.4 * y[:, :-5]  # left, above, above the left one: rows of 4
    means = pixels.params(levels, None)[:, 5:, 2:8, 0].reshape(3, -1, 3, 2)  # (B, T, C, K)
    apart = torch.stack([expected[..., 0], *(expected[..., c] - 0.8 * expected[..., c - 1] for c in (1, 2))], dim=-1)
    assert (means - apart[..., None]).abs().max() < 0.2


def test_the_auxiliary_head_changes_only_the_objective() -> None:
    past = {"near": 2, "far": [3], "layers": 1, "auxiliary_weight": 0.5}
    model = build("hybrid", past=past).requires_grad_(True)
    x = torch.as_tensor(model.generate(num_samples=3, length=8, seed=1).values)
    bound = model.elbo(x, torch.Generator().manual_seed(0))
    assert torch.allclose(bound.nats, bound.log_likelihood - bound.kl.sum(1))
    assert not torch.allclose(bound.objective, bound.nats)
    assert model.past is not None
    gradients = torch.autograd.grad(bound.objective.sum(), list(model.past.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("exact", {"past": {"near": 2, "far": [4]}}, "far must begin with near"),
    ("exact", {"past": {"near": 2, "far": [3, 3]}}, "each distance once"),
    ("exact", {"past": None}, "levels must not be empty, unless the decoder reads the past"),
    ("hybrid", {"encoder": None}, "encoder is given exactly when there are levels"),
    ("exact", {"past": {"near": 0, "far": [1], "auxiliary_weight": 0.1}}, "auxiliary_weight needs levels"),
    ("exact", {"decoder": {"width": 8, "state": 4, "linear": True}}, "cannot be linear"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), WRONG)
def test_what_does_not_fit_together_is_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(kind, **changes)


@given(kind=st.sampled_from(EXACT), steps=st.integers(1, 30), data=st.data())
@settings(max_examples=30, deadline=None)
def test_rows_at_their_end_stay_as_they_are_without_looking(kind: str, steps: int, data: st.DataObject) -> None:
    """As on a device that is not waited for: all rows take part in all windows, in any order of their ends."""
    model = MODELS[kind]
    last = torch.tensor(data.draw(st.lists(st.integers(0, steps - 1), min_size=1, max_size=5)))
    rows, networks = len(last), CompiledNetworks(model)
    position = torch.zeros(rows, dtype=torch.int64)
    state, noise = model.start(rows, 5).tensors, outsourced(model, rows, steps)
    d = torch.randn(rows, steps, model.config.decoder.width) if model.levels else None
    with torch.no_grad():
        looking, not_looking = (
            solve.solve(model, networks, position, noise, d, state, last, waits=waits) for waits in (True, False)
        )
    assert torch.equal(looking.passes, not_looking.passes)
    for name, tensor in looking.state.items():
        assert torch.equal(tensor, not_looking.state[name])
    for row, end in enumerate(last.tolist()):
        assert torch.equal(looking.values[row, : end + 1], not_looking.values[row, : end + 1])


def test_passes_that_depend_on_values_are_no_graph() -> None:
    sure, guessing = MODELS["exact"], build("exact", past={"near": 0, "far": [1, 2], "layers": 1})
    assert solve.as_always(sure, None)
    assert solve.as_always(build("rows"), None)
    assert not solve.as_always(sure, sure.budget(2, 60))
    assert not solve.as_always(guessing, None)
