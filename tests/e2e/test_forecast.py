"""Forecasting over HTTP: joint paths after a prefix in its own units, and their quantiles."""

import uuid
from typing import Any

import httpx
import numpy as np
import pytest
from vssm_client import Chunk, Client, Generation

from tests.e2e.serving import Serve, joined, parse, values
from tests.server.models import build

LEVELS = [0.1, 0.5, 0.9]
PREFIX = np.random.default_rng(0).normal([300.0, -2.0], [40.0, 0.1], (500, 2)).astype(np.float32)
BODY: dict[str, Any] = {"model": "scaled", "prefix": PREFIX.tolist(), "length": 400, "num_samples": 7, "seed": 3}


def quantiles(result: dict[str, Any]) -> list[Any]:
    assert [level["quantile"] for level in result["quantiles"]] == LEVELS
    return [level["values"] for level in result["quantiles"]]


def expected(paths: Any) -> Any:
    return np.quantile(np.array(paths, np.float32).astype(np.float64), LEVELS, axis=0).astype(np.float32)


def test_quantiles_are_those_of_the_paths(serve: Serve) -> None:
    result = serve.generate(**BODY, quantiles=LEVELS)
    assert np.array_equal(np.array(quantiles(result), np.float32), expected(values(result)))
    plain = serve.generate(**BODY)
    assert "quantiles" not in plain
    assert values(plain) == values(result)


def test_every_chunk_carries_its_own(serve: Serve) -> None:
    events = serve.stream(**BODY, quantiles=LEVELS)
    chunks = [data for name, data in events if name == "chunk"]
    assert len(chunks) > 1
    assert joined([quantiles(data) for data in chunks]) == quantiles(serve.generate(**BODY, quantiles=LEVELS))
    assert events[-1][0] == "done"
    assert "quantiles" not in events[-1][1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_replayed_answer_has_them_too(serve: Serve, stream: bool) -> None:
    headers, body = {"Idempotency-Key": str(uuid.uuid4())}, {**BODY, "quantiles": LEVELS, "stream": stream}
    first, again = (serve.client.post("/generate", json=body, headers=headers) for _ in range(2))
    assert again.headers["Idempotency-Replayed"] == "true"

    def read(answer: httpx.Response) -> list[Any]:
        chunks = [data for name, data in parse(answer.text) if name == "chunk"] if stream else [answer.json()]
        return joined([quantiles(data) for data in chunks])

    assert read(first) == read(again)


def test_a_session_of_one_channel_and_no_steps(serve: Serve) -> None:
    saved = serve.generate(model="series", num_samples=2, length=3, save=True)
    result = serve.generate(session_id=saved["session_id"], length=0, prefix=[[0.5, 1]], quantiles=[0.25])
    assert result["quantiles"] == [{"quantile": 0.25, "values": []}]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"model": "text"}, "'text' are text"),
        ({"model": "image"}, "are pixels"),
        ({"model": "pixels"}, "are bernoulli ones"),
        ({"quantiles": []}, "1 to 99 numbers, not 0"),
        ({"quantiles": [i / 101 for i in range(1, 101)]}, "not 100"),
        ({"quantiles": [0, 0.5]}, "between 0 and 1, both excluded; 0 does not"),
        ({"quantiles": [0.5, 1.0]}, "1 does not"),
        ({"quantiles": [0.5, 0.5]}, "must increase"),
        ({"quantiles": [0.9, 0.1]}, "must increase"),
        ({"quantiles": ["0.5"]}, "valid number"),
        ({"quantiles": 0.5}, "valid list"),
        ({"num_samples": 1}, "at least 2"),
        ({"output": "mean"}, "not of means"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_has_no_quantiles_is_refused(serve: Serve, body: dict[str, Any], says: str, stream: bool) -> None:
    whole = {"model": "series", "num_samples": 4, "quantiles": [0.1, 0.9], "stream": stream, **body}
    response = serve.client.post("/generate", json=whole)
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_value"
    assert error["param"].startswith("quantiles")
    assert says in error["message"]


def test_npy_has_no_place_for_them(serve: Serve) -> None:
    response = serve.client.post(
        "/generate", json={**BODY, "quantiles": [0.5]}, headers={"Accept": "application/x-npy"}
    )
    assert response.status_code == 406
    assert response.json()["error"]["param"] == "quantiles"


def test_a_long_prefix_has_one_scale_however_it_is_cut(serve: Serve) -> None:
    """The server observes the 500 steps in windows of 128 and generates in others; then stops and goes on."""
    model = build("scaled")
    whole = model.generate(prefix=PREFIX, num_samples=7, length=400, seed=3).values
    assert np.array_equal(np.array(values(serve.generate(**BODY)), np.float32), whole)
    half = serve.generate(**{**BODY, "length": 150}, save=True)
    rest = serve.generate(session_id=half["session_id"], length=250)
    assert np.array_equal(np.array(joined([values(half), values(rest)]), np.float32), whole)


def test_more_observed_steps_later_are_read_by_the_first_scale(serve: Serve) -> None:
    model = build("scaled")
    after = model.condition(PREFIX[300:], state=model.condition(PREFIX[:300], num_samples=7, seed=3))
    first = serve.generate(**{**BODY, "prefix": PREFIX[:300].tolist(), "length": 0}, save=True)
    result = serve.generate(session_id=first["session_id"], prefix=PREFIX[300:].tolist(), length=9)
    assert np.array_equal(np.array(values(result), np.float32), model.generate(state=after, length=9).values)


def test_the_client_passes_them_on(serve: Serve) -> None:
    with Client(str(serve.client.base_url)) as client:
        done = client.generate(model="series", num_samples=9, length=300, seed=1, quantiles=LEVELS)
        chunks = list(client.stream(model="series", num_samples=9, length=300, seed=1, quantiles=LEVELS))
    assert done.quantiles is not None
    assert [level.quantile for level in done.quantiles] == LEVELS
    streamed = [c.quantiles[2].values for c in chunks if isinstance(c, Chunk) and c.quantiles is not None]
    assert [row for part in streamed for row in part] == done.quantiles[2].values
    assert isinstance(chunks[-1], Generation)
