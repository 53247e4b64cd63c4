"""The compiled selective scan and its gradients equal those of the reference, wherever its kept states fall."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vssm.baselines.scans import inputs, values_and_gradients
from vssm.baselines import selective_scan as compiled
from vssm.baselines.mamba import scan


@given(batch=st.integers(1, 3), steps=st.integers(1, 40), states=st.integers(1, 5), channels=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_it_is_the_reference_and_so_are_its_gradients(batch: int, steps: int, states: int, channels: int) -> None:
    chosen = inputs(batch, steps, states, channels)
    exact = values_and_gradients(scan, [value.double() for value in chosen])
    for found, expected in zip(values_and_gradients(compiled.selective_scan, chosen), exact, strict=True):
        assert (found - expected).abs().max() <= 2e-6 * expected.abs().max() + 1e-6


@pytest.mark.parametrize("kept", [1, 30, 100])
def test_states_between_the_kept_ones_are_made_again(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = inputs(2, 37, 3, 10)
    whole = values_and_gradients(compiled.selective_scan, chosen)
    monkeypatch.setattr(compiled, "_KEPT_VALUES", kept)
    for found, expected in zip(values_and_gradients(compiled.selective_scan, chosen), whole, strict=True):
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()  # fused otherwise: the last bits


def test_one_row_is_as_among_others() -> None:
    chosen = inputs(3, 20, 4, 33)
    together, _ = compiled.selective_scan(*chosen)
    alone, _ = compiled.selective_scan(*[v if v is chosen[1] else v[1:2] for v in chosen])
    assert torch.equal(together[1:2], alone)
