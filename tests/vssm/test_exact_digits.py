"""A thousand digits of the shipped model: passes make the values of sequential sampling, however they are asked for."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import vssm
from tests.vssm.test_generation import same

DIGITS, LENGTH, SEED = 1000, 784, 11
Values = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> vssm.VSSM:
    return vssm.load("mnist-exact")


@pytest.fixture(scope="module")
def sequential(model: vssm.VSSM) -> tuple[Values, vssm.State]:
    """One step after another."""
    steps = list(model.stream(1, num_samples=DIGITS, length=LENGTH, seed=SEED))
    return np.concatenate([step.values for step in steps], axis=1), steps[-1].state


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_whole(model: vssm.VSSM, sequential: tuple[Values, vssm.State], threads: int) -> None:
    torch.set_num_threads(threads)
    whole = model.generate(num_samples=DIGITS, length=LENGTH, seed=SEED)
    assert np.array_equal(whole.values, sequential[0])
    assert same(whole.state, sequential[1])
    assert whole.passes is not None
    assert (whole.passes == 28).all()


@pytest.mark.slow
def test_resumed_at_random_cuts_beside_strangers(model: vssm.VSSM, sequential: tuple[Values, vssm.State]) -> None:
    rng = np.random.default_rng(3)
    cuts = [0, *sorted(rng.choice(np.arange(1, LENGTH), 4, replace=False).tolist()), LENGTH]
    state, parts = model.start(DIGITS, SEED), []
    for begin, end in pairwise(cuts):
        stranger = vssm.Window(model.start(7, begin), int(rng.integers(1, 400)))
        mine, _ = model.advance([vssm.Window(state, end - begin), stranger])
        state = vssm.State.from_bytes(mine.state.to_bytes())  # as a session keeps it
        parts.append(mine.values)
    assert np.array_equal(np.concatenate(parts, axis=1), sequential[0])
    assert same(state, sequential[1])


@pytest.mark.slow
def test_streamed(model: vssm.VSSM, sequential: tuple[Values, vssm.State]) -> None:
    chunks = list(model.stream(100, num_samples=DIGITS, length=LENGTH, seed=SEED))
    assert {chunk.values.shape[1] for chunk in chunks} == {84, LENGTH % 84}
    assert np.array_equal(np.concatenate([chunk.values for chunk in chunks], axis=1), sequential[0])


def test_unverified_guesses_are_not_the_digits(model: vssm.VSSM, sequential: tuple[Values, vssm.State]) -> None:
    """The negative control."""
    hasty = model.generate(num_samples=DIGITS, length=LENGTH, seed=SEED, max_passes=2)
    assert not np.array_equal(hasty.values, sequential[0])
