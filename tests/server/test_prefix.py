"""A prefix is checked against the model's description, quickly and with words."""

import time

import msgspec
import numpy as np
import pytest
from vssm_server.api.prefix import parse_prefix
from vssm_server.errors import Problem
from vssm_server.messages import Image, ModelInfo, Observation

BINARY = Observation("bernoulli", 2, 0, 1, "uint8")
PIXELS = Observation("logistic_mixture", 256, 0, 255, "uint8")
REAL = Observation("gaussian", None, None, None, "float32")


def info(size: int = 1, observation: Observation = BINARY, modality: str = "series") -> ModelInfo:
    image: Image | None = None
    return ModelInfo("m", "f", "", 1, 8, size, observation, modality, image, "causal", 8, 10.0)


def test_flat_and_nested() -> None:
    assert parse_prefix([0, 1, 1], info(), 9).tolist() == [[0], [1], [1]]
    assert parse_prefix([[0, 1], [1, 0]], info(2), 9).tolist() == [[0, 1], [1, 0]]


def test_text_is_bytes() -> None:
    text = info(1, Observation("categorical", 256, 0, 255, "int64"), "text")
    assert parse_prefix("é", text, 9)[:, 0].tolist() == [0xC3, 0xA9]


@pytest.mark.parametrize(
    ("prefix", "size", "says"),
    [
        ([], 1, "1 to 9 steps, not 0"),
        ([0] * 10, 1, "not 10"),
        ([0, 2], 1, r"prefix\[1\]\[0\] is 2; allowed are integers from 0 to 1"),
        ([0.5], 1, "integers"),
        ([-1], 1, "from 0 to 1"),
        ([True], 1, "not true or false"),
        ([0, True], 1, "not true or false"),
        ([None], 1, "not null"),
        (["1"], 1, "not a string"),
        ([[0], 0], 1, "not a list"),
        ([[0, 1], [0]], 2, "2 values, not 1, 2"),
        ([0, 1], 2, "steps of 2 values"),
        ([[[0]]], 1, "not a list"),
        ({"a": 1}, 1, "not an object"),
        ("text", 1, "must be a list"),
        ([10**400], 1, "too large"),
    ],
)
def test_refused(prefix: object, size: int, says: str) -> None:
    with pytest.raises(Problem, match=says):
        parse_prefix(prefix, info(size), 9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_not_finite_in_float32(value: float) -> None:
    with pytest.raises(Problem, match=r"finite|float32"):
        parse_prefix([value], info(1, REAL), 9)


def test_models_without_prefixes_say_why() -> None:
    blind = msgspec.structs.replace(info(), encoder="bidirectional", takes_prefix="none")
    with pytest.raises(Problem, match="its encoder is bidirectional, for whole sequences"):
        parse_prefix([0], blind, 9)


def test_a_hundred_thousand_steps_are_quick() -> None:
    prefix = np.random.default_rng(0).integers(0, 2, 100_000).tolist()
    began = time.perf_counter()
    assert parse_prefix(prefix, info(), 100_000).shape == (100_000, 1)
    assert time.perf_counter() - began < 0.5


def test_levels_of_pixels() -> None:
    made = parse_prefix([[0, 255.0, 7]], info(3, PIXELS), 9)
    assert made.dtype.name == "uint8"
    assert made.tolist() == [[0, 255, 7]]


@pytest.mark.parametrize("value", [256, -1, 0.5])
def test_other_than_levels_of_pixels(value: float) -> None:
    with pytest.raises(Problem, match=rf"prefix\[0\]\[1\] is {value:g}; allowed are integers from 0 to 255"):
        parse_prefix([[0, value, 7]], info(3, PIXELS), 9)
