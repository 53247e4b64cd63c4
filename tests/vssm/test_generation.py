"""The backbone: whole = chunked = resumed = batched with strangers, value for value, and the control that breaks it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vssm.models import ENCODED, KINDS, build
from vssm import VSSM, Advance, ObservationError, State, StateError, Window
from vssm.noise import Counters
from vssm.passes import Output

MODELS = {kind: build(kind) for kind in KINDS}


def same(a: State, b: State) -> bool:
    """Equal in every bit."""
    return a.position == b.position and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors | b.tensors)


def cut(data: st.DataObject, length: int) -> list[int]:
    """Random lengths of at least 1 that add up to `length`."""
    cuts = sorted(data.draw(st.sets(st.integers(1, length - 1), max_size=5))) if length > 1 else []
    return list(np.diff([0, *cuts, length]))


def run(model: VSSM, state: State, parts: Sequence[int], observed: Any = None, **options: Any) -> Advance:
    """Advance in windows of the given lengths, each state going through its bytes."""
    values, start = [], 0
    for n in parts:
        given = None if observed is None else observed[start : start + n]
        advance = model.advance([Window(State.from_bytes(state.to_bytes()), int(n), given, **options)])[0]
        values.append(advance.values)
        state, start = advance.state, start + int(n)
    return Advance(np.concatenate(values, 1), state)


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), samples=st.integers(1, 40), length=st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_resumed_parts_equal_the_whole(data: st.DataObject, kind: str, samples: int, length: int) -> None:
    model = MODELS[kind]
    seed = data.draw(st.integers(0, 2**63 - 1))
    whole = model.generate(num_samples=samples, length=length, seed=seed)
    parts = run(model, model.start(samples, seed), cut(data, length))
    assert np.array_equal(parts.values, whole.values)
    assert same(parts.state, whole.state)


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
@settings(max_examples=40, deadline=None)
def test_strangers_in_the_pass_change_nothing(data: st.DataObject, kind: str) -> None:
    model = MODELS[kind]
    windows = []
    for _ in range(data.draw(st.integers(1, 9))):
        state = model.start(data.draw(st.integers(1, 20)), data.draw(st.integers(0, 2**63 - 1)))
        state = replace(state, position=data.draw(st.sampled_from([0, 5, 2**40])))
        length = data.draw(st.integers(1, 60))
        observed = model.generate(length=length).values[0] if data.draw(st.booleans()) else None
        state = state if observed is None else model.scaled(state, 5 * observed + 1)
        temperature = data.draw(st.sampled_from([0.0, 0.7, 1.0]))
        output: Output = data.draw(st.sampled_from(get_args(Output)))
        windows.append(Window(state, length, observed, temperature, output, data.draw(st.booleans())))
    together = model.advance(windows)
    for window, result in zip(windows, together, strict=True):
        alone = model.advance([window])[0]
        assert np.array_equal(alone.values, result.values)
        assert same(alone.state, result.state)


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), prefix=st.integers(1, 50), length=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_a_prefix_may_come_in_parts(data: st.DataObject, kind: str, prefix: int, length: int) -> None:
    model = MODELS[kind]
    observed = model.generate(length=prefix, seed=99).values[0]
    whole = model.generate(prefix=observed, num_samples=3, length=length, seed=4)
    seen = run(model, model.scaled(model.start(3, 4), observed), cut(data, prefix), observed)
    parts = run(model, seen.state, cut(data, length))
    assert np.array_equal(parts.values, whole.values)
    assert same(parts.state, whole.state)


@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
@settings(max_examples=30, deadline=None)
def test_observed_steps_after_generated_ones_do_not_depend_on_cuts(data: st.DataObject, kind: str) -> None:
    model = MODELS[kind]
    observed = model.generate(length=11, seed=99).values[0]
    states = []
    for cuts in ([20], cut(data, 20)):
        seen = run(
            model, run(model, model.start(2, 8), cuts).state, [11] if len(cuts) == 1 else cut(data, 11), observed
        )
        states.append(run(model, seen.state, [5]))
    assert np.array_equal(states[0].values, states[1].values)
    assert same(states[0].state, states[1].state)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_step_at_a_time_equals_one_pass(kind: str) -> None:
    model = MODELS[kind]
    whole = model.generate(num_samples=4, length=40, seed=1)
    steps = list(model.stream(1, num_samples=4, length=40, seed=1))
    assert len(steps) == 40
    assert np.array_equal(np.concatenate([s.values for s in steps], 1), whole.values)


@pytest.mark.parametrize("kind", ["rgb", "tails"])
def test_threads_change_nothing(kind: str) -> None:
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(MODELS[kind].generate(num_samples=65, length=40, seed=3))
    assert np.array_equal(made[0].values, made[1].values)
    assert same(made[0].state, made[1].state)


def test_a_million_generated_steps_without_a_difference() -> None:
    """784-step sequences whole, against cut, batched and resumed ones; counts every compared step."""
    model, rng, compared, differences = MODELS["pixels"], np.random.default_rng(0), 0, 0
    while compared < 1_000_000:
        seeds = rng.integers(0, 2**62, 6)
        whole = [model.generate(num_samples=40, length=784, seed=int(s)).values for s in seeds]
        states = [model.start(40, int(s)) for s in seeds]
        values: list[list[np.ndarray[Any, Any]]] = [[] for _ in seeds]
        while remaining := [i for i, v in enumerate(values) if sum(x.shape[1] for x in v) < 784]:
            chosen = rng.permutation(remaining)[: rng.integers(1, len(remaining) + 1)]
            windows = [
                Window(states[i], min(int(rng.integers(1, 400)), 784 - states[i].position), encode=False)
                for i in chosen
            ]
            for i, advance in zip(chosen, model.advance(windows), strict=True):
                states[i] = advance.state
                values[i].append(advance.values)
        for expected, parts in zip(whole, values, strict=True):
            differences += int((np.concatenate(parts, 1) != expected).sum())
            compared += expected.size
    assert differences == 0


def test_control_noise_keyed_by_batch_slot_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Counters.draw

    def by_slot(self: Counters, kind: Any, purpose: int, steps: int, width: int) -> torch.Tensor:
        slots = torch.arange(len(self.seed))
        return draw(Counters(self.seed, slots, self.position), kind, purpose, steps, width)

    monkeypatch.setattr(Counters, "draw", by_slot)
    model = MODELS["rows"]
    windows = [Window(model.start(2, 7), 20), Window(model.start(2, 8), 20)]
    together = model.advance(windows)
    assert np.array_equal(together[0].values, model.advance(windows[:1])[0].values)
    assert not np.array_equal(together[1].values, model.advance(windows[1:])[0].values)


def test_samples_and_seeds_differ() -> None:
    model = MODELS["rows"]
    a, b = (model.generate(num_samples=2, length=30, seed=s).values for s in (0, 1))
    assert not np.array_equal(a[0], a[1])
    assert not np.array_equal(a, b)


def test_temperature_zero_gives_the_most_likely_value_of_each_step() -> None:
    model = MODELS["rows"]
    mean = model.advance([Window(model.start(3, 5), 30, output="mean")])[0].values
    mode = model.advance([Window(model.start(3, 5), 30, temperature=0.0)])[0].values
    assert np.array_equal(mode, mean > 0.5)


def test_mean_is_the_average_of_samples_given_the_same_latents() -> None:
    model = MODELS["rows"]
    window = Window(model.start(1, 5), 30, output="mean")
    mean = model.advance([window])[0].values
    assert ((mean > 0) & (mean < 1)).all()
    assert mean.std() > 0.05


def test_a_prefix_changes_what_follows() -> None:
    model = MODELS["rows"]
    zeros, ones = np.zeros((10, 7), np.uint8), np.ones((10, 7), np.uint8)
    after = [model.generate(prefix=x, length=10, seed=3, output="mean").values for x in (zeros, ones)]
    assert np.abs(after[0] - after[1]).max() > 1e-3


def test_a_prefix_may_be_read_only() -> None:
    """As those are that come in a message; a warning is an error here."""
    prefix = np.ones((10, 7), np.uint8)
    prefix.flags.writeable = False
    model = MODELS["rows"]
    [ahead] = model.advance([Window(model.start(1, 3), 10, observed=prefix)])
    assert ahead.state.position == 10


def test_default_length_is_what_is_left_of_the_model() -> None:
    model = MODELS["rows"]
    assert model.generate().values.shape == (1, 12, 7)
    prefix = np.zeros((5, 7), np.uint8)
    out = model.generate(prefix=prefix, num_samples=2)
    assert out.values.shape == (2, 7, 7)
    with pytest.raises(ValueError, match="past the end"):
        model.generate(state=out.state)


def test_a_state_without_its_encoder_takes_no_prefix() -> None:
    model = MODELS["rows"]
    state = model.advance([Window(model.start(1, 0), 5, encode=False)])[0].state
    assert not state.encoder
    with pytest.raises(StateError, match="without keeping the encoder"):
        model.condition(np.zeros((1, 7)), state=state)


@pytest.mark.parametrize("kind", ENCODED)
def test_generating_without_the_encoder_changes_no_value(kind: str) -> None:
    model = MODELS[kind]
    kept, left = (model.generate(num_samples=3, length=25, seed=2, encode=encode) for encode in (True, False))
    assert np.array_equal(kept.values, left.values)
    assert (kept.state.encoder, left.state.encoder) == (True, False)


def test_a_bidirectional_model_generates_but_takes_no_prefix() -> None:
    model = build("rows", encoder={"kind": "bidirectional", "width": 16, "state": 6, "layers": 2})
    parts = list(model.stream(7, num_samples=2, length=20, seed=1))
    whole = model.generate(num_samples=2, length=20, seed=1)
    assert np.array_equal(np.concatenate([p.values for p in parts], 1), whole.values)
    with pytest.raises(ObservationError, match="causal"):
        model.condition(np.zeros((1, 7)))


def test_a_foreign_state_is_refused() -> None:
    state = build("rows", seed=1).start(1, 0)
    with pytest.raises(StateError, match="fingerprint"):
        MODELS["rows"].generate(state=state, length=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"length": -1}, "length must be at least 1"),
        ({"num_samples": 0}, "num_samples must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"temperature": -0.1}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"output": "median"}, "output must be"),
        ({"prefix": np.zeros((2, 6))}, r"shape \(steps, 7\)"),
        ({"prefix": np.full((2, 7), np.nan)}, "finite"),
        ({"prefix": np.full((2, 7), 2)}, "whole numbers from 0 to 1; found 2"),
        ({"prefix": [[0] * 7, [0]]}, "rectangular"),
        ({"prefix": [["a"] * 7]}, "must be numbers"),
    ],
)
def test_wrong_arguments_are_refused_with_the_reason(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS["rows"].generate(**arguments)
