"""Exact mode over HTTP: passes are told, bounded when asked for, and values are the same in any way of asking."""

import numpy as np
import pytest

from tests.e2e.serving import Serve, streamed, values

WAVE = np.sin(np.arange(24.0)).reshape(12, 2)


def test_passes_are_told(serve: Serve) -> None:
    result = serve.generate(model="exact", num_samples=3, seed=1)
    assert np.shape(values(result)) == (3, 64)
    assert result["passes"] == {"mean": 16.0, "max": 16, "approximate": False}
    assert serve.generate(model="exact-colour", seed=1)["passes"] == {"mean": 3.0, "max": 3, "approximate": False}
    assert serve.generate(model="exact-series", seed=1)["passes"] == {"mean": 8.0, "max": 8, "approximate": False}
    assert "passes" not in serve.generate(model="pixels", length=4)
    assert serve.client.get("/models/exact").json()["steps_a_pass"] == 4


def test_fewer_passes_are_an_approximation(serve: Serve) -> None:
    body = {"model": "exact", "num_samples": 8, "seed": 1}
    exact, enough, few = (serve.generate(**body, **most) for most in ({}, {"max_passes": 16}, {"max_passes": 2}))
    assert values(enough) == values(exact)
    assert enough["passes"] == exact["passes"]
    assert few["passes"] == {"mean": 2.0, "max": 2, "approximate": True}
    assert values(few) != values(exact)
    assert [row[:4] for row in values(few)] == [row[:4] for row in values(exact)]


@pytest.mark.parametrize("model", ["exact", "exact-text", "exact-colour", "exact-series"])
def test_whole_parts_stream_and_fork_agree(serve: Serve, model: str) -> None:
    body = {"model": model, "num_samples": 2, "seed": 5}
    whole = values(serve.generate(**body, length=300))
    events = serve.stream(**body, length=300)
    assert streamed(events) == whole
    half = serve.generate(**body, length=101, save=True)
    fork = serve.client.post(f"/sessions/{half['session_id']}/fork", json={}).json()["id"]
    for name in (half["session_id"], fork):
        rest = serve.generate(session_id=name, length=199)
        assert [a + b for a, b in zip(values(half), values(rest), strict=True)] == whole


def test_a_series_goes_on_from_its_prefix_in_its_own_units(serve: Serve) -> None:
    """The scale of the prefix is the one its values come back in, so all is as far away and as wide as that."""
    near, far = (
        values(serve.generate(model="exact-series", seed=5, prefix=x.tolist())) for x in (WAVE, 100 + 10 * WAVE)
    )
    assert np.allclose(100 + 10 * np.array(near), far, rtol=1e-3)


def test_a_prefix_is_as_if_it_had_been_generated(serve: Serve) -> None:
    whole = values(serve.generate(model="exact", seed=5, length=60))[0]
    rest = serve.generate(model="exact", seed=5, prefix=whole[:23], length=37)
    assert values(rest)[0] == whole[23:]
    session = serve.generate(model="exact", seed=5, length=23, save=True)["session_id"]
    more = serve.generate(session_id=session, prefix=whole[:9], length=5)  # also after generated steps
    assert more["position"] == 37
