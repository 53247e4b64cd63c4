"""numpy in and out."""

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
from vssm_client import Client, options
from vssm_client.arrays import of_npy, to_npy
from vssm_client.options import body

from tests.e2e.serving import Serve, values


@pytest.mark.parametrize(
    ("model", "shape", "dtype"),
    [("image", (2, 8, 8), "uint8"), ("series", (2, 32, 2), "float32"), ("colour", (2, 4, 12), "uint8")],
)
def test_npy_has_the_values_of_json(serve: Serve, url: str, model: str, shape: tuple[int, ...], dtype: str) -> None:
    with Client(url) as client:
        result = client.array(model=model, num_samples=2, seed=3, save=True)
        listed = client.generate(model=model, num_samples=2, seed=3).array()
        assert client.session(result.session_id).info().seed == result.seed == 3
    assert (result.values.shape, result.values.dtype.name) == (shape, dtype)
    assert result.id
    told = values(serve.generate(model=model, num_samples=2, seed=3))
    assert np.array_equal(result.values, np.array(told, dtype))
    assert np.array_equal(listed, result.values)
    assert listed.dtype.name == ("float32" if dtype == "float32" else "int64")


def test_arrays_as_prefixes(url: str) -> None:
    prefix = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    with Client(url) as client:
        lists = client.generate(model="series", prefix=prefix.tolist(), seed=1)
        for same in (prefix, list(prefix), prefix.astype(np.float64)):
            assert client.generate(model="series", prefix=same, seed=np.int64(1)).outputs == lists.outputs  # type: ignore[arg-type]
        levels = client.generate(model="series", length=3, num_samples=4, quantiles=np.array([0.25, 0.5]))  # type: ignore[arg-type]
        flat = client.generate(model="pixels", length=4, prefix=np.array([0, 1, 1]))
        empty = client.generate(model="pixels", length=0, prefix=[1], save=True)
    assert levels.quantiles is not None
    assert levels.quantiles[1].array().shape == (3, 2)
    assert flat.array().shape == (1, 4, 1)
    assert empty.array().shape == (1, 0, 1)


@pytest.mark.parametrize("order", ["C", "F"])
def test_files_of_numpy(order: Literal["C", "F"]) -> None:
    array = np.arange(24, dtype=np.int64).reshape(2, 3, 4, order=order)
    again = of_npy(to_npy(array))
    assert np.array_equal(again, array)
    again[0] = 1  # it is one's own
    assert of_npy(to_npy(np.zeros((2, 0, 1), np.uint8))).shape == (2, 0, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(3,), }", b"(9,), }"),
        (b"(3,), }            ", b"(3000000000000,), }"),  # needs no memory
        (b"(3,), }", b"(3,(((("),
        (b"'|u1'", b"'|O' "),
        (b"NUMPY\x01", b"NUMPY\x07"),
        (b"\x93NUMPY", b""),
    ],
)
def test_what_is_no_array_is_a_value_error(old: bytes, new: bytes) -> None:
    data = to_npy(np.zeros(3, np.uint8))
    assert old in data
    with pytest.raises(ValueError, match="no array in numpy's format"):
        of_npy(data.replace(old, new))
    with pytest.raises(ValueError, match="no array in numpy's format"):
        of_npy(data[:-1])


def test_what_cannot_be_sent() -> None:
    assert body({"seed": 1, "model": None}, stream=True) == b'{"seed":1,"stream":true}'
    assert body({"prefix": range(3)}, stream=False) == b'{"prefix":[0,1,2]}'
    with pytest.raises(ValueError, match="only finite numbers"):
        body({"prefix": np.array([np.nan])}, stream=False)
    with pytest.raises(TypeError, match="a set cannot be sent"):
        body({"prefix": {1, 2}}, stream=False)  # type: ignore[typeddict-item]
    assert options.MAX_KEY_LENGTH == 255


def test_the_library_needs_httpx_and_pydantic_only() -> None:
    """Neither numpy nor the command line's packages nor the server are imported; without numpy arrays say so."""
    code = """
import sys
for name in ("numpy", "typer", "rich", "vssm", "vssm_server", "click"):
    sys.modules[name] = None
import importlib.util, vssm_client
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("numpy", "typer", "rich") else find(name)
try:
    vssm_client.Client().array()
except ImportError as error:
    print(error)
from vssm_client.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'arrays need numpy: pip install "vssm-client[numpy]"' in done.stdout
    assert done.returncode == 1
    assert done.stderr.strip() == 'error: the command needs typer and rich: pip install "vssm-client[cli]"'
