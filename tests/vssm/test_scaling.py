"""Series normalised by the prefix they begin with: the scale, its units, and what leaves it alone."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.vssm.baselines.rivals import FAMILIES, rival
from tests.vssm.models import build, config
from vssm import VSSM, State, Window
from vssm.baselines import Rival
from vssm.baselines.generate import generate
from vssm.checkpoint import fingerprint_of
from vssm.scaling import FLOOR, measure

MODEL = build("scaled")
RANDOM = np.random.default_rng(0)
PREFIX = RANDOM.normal([3.0, -70.0], [0.5, 20.0], (40, 2)).astype(np.float32)
FACTOR, SHIFT = np.array([4.0, 0.25], np.float32), np.array([-8.0, 16.0], np.float32)


def scale_of(state: State) -> list[float]:
    rows = state.tensors["scale"]
    assert torch.equal(rows, rows[:1].expand_as(rows))
    scale: list[float] = rows[0].tolist()
    return scale


def test_the_scale_is_mean_and_standard_deviation() -> None:
    wide = PREFIX.astype(np.float64)
    np.testing.assert_allclose(measure(PREFIX), [*wide.mean(0), *(wide.std(0) + FLOOR)], rtol=1e-7)


def test_the_scale_does_not_depend_on_the_layout_in_memory() -> None:
    assert np.array_equal(measure(PREFIX), measure(np.asfortranarray(PREFIX[::-1])))


def test_one_step_or_a_flat_channel_has_the_least_scale() -> None:
    assert measure(np.array([[5.0, 7.0]])).tolist() == pytest.approx([5, 7, FLOOR, FLOOR])
    out = MODEL.generate(prefix=np.full((9, 2), 5.0), num_samples=3, length=6, seed=1)
    np.testing.assert_allclose(out.values, 5.0, atol=1e-3)


def test_before_any_prefix_location_0_and_scale_1() -> None:
    assert scale_of(MODEL.start(2, 0)) == [0, 0, 1, 1]
    assert scale_of(MODEL.generate(num_samples=2, length=3).state) == [0, 0, 1, 1]


@pytest.mark.parametrize("output", ["sample", "mean"])
def test_values_follow_the_units_of_the_prefix(output: Any) -> None:
    options: dict[str, Any] = {"num_samples": 4, "length": 30, "seed": 2, "output": output}
    plain = MODEL.generate(prefix=PREFIX, **options).values
    moved = MODEL.generate(prefix=PREFIX * FACTOR + SHIFT, **options).values
    np.testing.assert_allclose(moved, plain * FACTOR + SHIFT, rtol=1e-4, atol=1e-2)


def test_control_without_scaling_they_do_not() -> None:
    model = build("series")
    options: dict[str, Any] = {"num_samples": 4, "length": 30, "seed": 2}
    plain = model.generate(prefix=PREFIX, **options).values
    assert np.abs(model.generate(prefix=PREFIX * FACTOR + SHIFT, **options).values - plain * FACTOR - SHIFT).max() > 1


def test_the_networks_see_what_an_unscaled_model_sees_of_normalised_values() -> None:
    scale = measure(PREFIX)
    plain = build("series")  # the same weights
    expected = plain.generate(prefix=(PREFIX - scale[:2]) / scale[2:], num_samples=3, length=9, seed=5)
    scaled = MODEL.generate(prefix=PREFIX, num_samples=3, length=9, seed=5)
    assert np.array_equal(scaled.values, expected.values * scale[2:] + scale[:2])
    assert all(torch.equal(scaled.state.tensors[name], tensor) for name, tensor in expected.state.tensors.items())


def test_a_later_prefix_is_read_by_the_scale_of_the_first() -> None:
    first = MODEL.condition(PREFIX, num_samples=2)
    later = MODEL.condition(100 * PREFIX, state=first)
    assert scale_of(later) == scale_of(first) == measure(PREFIX).tolist()
    after = MODEL.condition(PREFIX, state=MODEL.generate(num_samples=2, length=3).state)
    assert scale_of(after) == [0, 0, 1, 1]


def test_a_prefix_cut_in_two_needs_the_scale_of_the_whole() -> None:
    whole = MODEL.condition(PREFIX)
    for start, same in ((MODEL.scaled(MODEL.start(), PREFIX), True), (MODEL.scaled(MODEL.start(), PREFIX[:9]), False)):
        part = MODEL.advance([Window(start, 9, PREFIX[:9])])[0].state
        cut = MODEL.advance([Window(part, 31, PREFIX[9:])])[0].state
        assert all(torch.equal(cut.tensors[name], whole.tensors[name]) for name in whole.tensors) == same


def test_the_bound_is_of_normalised_values() -> None:
    x = torch.from_numpy(PREFIX)[None]
    bounds = [m.elbo(x, generator=torch.Generator().manual_seed(1)).nats for m in (MODEL, build("series"))]
    assert torch.equal(*bounds)


def test_values_beyond_float32_are_not_finite() -> None:
    model = build("scaled")
    model.state_dict()["observation.log_scale"].fill_(80.0)
    state = model.scaled(model.start(), 1e6 * PREFIX / 400)
    assert not model.advance([Window(state, 4)])[0].finite
    assert model.advance([Window(model.start(), 4)])[0].finite  # the control


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def test_configs_without_scaling_are_written_as_ever() -> None:
    plain, scaled = config("series").model_dump(mode="json"), config("scaled").model_dump(mode="json")
    assert "scaling" not in plain
    assert scaled["scaling"] == "prefix"
    assert without(scaled, "scaling") == plain
    assert "scaling" not in json.loads(config("series").model_dump_json())


def test_the_fingerprint_of_an_old_checkpoint_is_as_ever_and_another_with_scaling() -> None:
    assert fingerprint_of(config("series"), {}) == "0a23b85d3d621bb3e75860f556b918095913088d258598243e77ce901e21990e"
    assert fingerprint_of(config("scaled"), {}) != fingerprint_of(config("series"), {})


@pytest.mark.parametrize("kind", ["rows", "levels"])
def test_only_numbers_are_scaled(kind: str) -> None:
    with pytest.raises(ValidationError, match="needs modality 'series' and a gaussian or student_t"):
        config(kind, scaling="prefix")


@pytest.mark.parametrize("family", FAMILIES)
class TestRivals:
    def scaled(self, family: str) -> Rival:
        return rival(family, "real", scaling="prefix")

    def values(self, model: Rival, prefix: np.ndarray[Any, Any], **options: Any) -> np.ndarray[Any, Any]:
        return generate(model, 3, 6, 1, prefix, 1.0, options.get("cache"), "eager").values

    def test_values_follow_the_units_of_the_prefix(self, family: str) -> None:
        model = self.scaled(family)
        plain, moved = (self.values(model, x) for x in (PREFIX, PREFIX * FACTOR + SHIFT))
        np.testing.assert_allclose(moved, plain * FACTOR + SHIFT, rtol=1e-4, atol=1e-2)

    def test_the_networks_see_normalised_values(self, family: str) -> None:
        scale = measure(PREFIX)
        expected = self.values(rival(family, "real"), (PREFIX - scale[:2]) / scale[2:])
        assert np.array_equal(self.values(self.scaled(family), PREFIX), expected * scale[2:] + scale[:2])

    def test_a_cache_keeps_its_scale(self, family: str) -> None:
        model = self.scaled(family)
        one, many = model.condition(PREFIX), model.condition(PREFIX, num_samples=3)
        for cache in (one, many, many.clone()):
            assert cache.scale is not None
            assert cache.scale[0].tolist() == measure(PREFIX).tolist()
        again = generate(model, None, 6, 1, 100 * PREFIX, 1.0, many, "eager").cache
        assert again.scale is many.scale
        assert again.scale is not None
        assert again.scale[0].tolist() == measure(PREFIX).tolist()


def test_matched_rivals_are_scaled_alike() -> None:
    from vssm.baselines import match

    like = VSSM(config("scaled", decoder={"width": 64, "state": 16})).config
    assert match("mamba", 100_000, like).scaling == "prefix"


def test_a_flat_prefix_is_no_division_by_zero() -> None:
    assert math.isfinite(float(np.abs(MODEL.generate(prefix=np.zeros((4, 2)), length=3).values).max()))
