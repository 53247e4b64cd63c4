"""A small run of the server's benchmark has every figure."""

from pathlib import Path

import pytest

import vssm
from benchmarks import serve
from benchmarks.serve import PARTS, Pass

ALWAYS = {"requests_per_second", "p50_ms", "p99_ms", "rows_per_pass", "engine_requests_per_second", "ratio"}
COSTS = {f"{part}_{unit}" for part in PARTS for unit in ("us", "cores")} | {"engine_us"}


def test_a_small_run(tmp_path: Path) -> None:
    result = serve.run(["mnist"], [1, 3], rounds=1, seconds=0.05, threads=1)
    assert result["machine"]["threads"] == 1
    assert [(row["format"], row["concurrency"]) for row in result["rows"]] == [
        (form, concurrency) for form in ("json", "npy", "sse") for concurrency in (1, 3)
    ]
    for row in result["rows"]:
        extra = {"first_chunk_ms"} if row["format"] == "sse" else set()
        extra |= {"overhead_ms"} if row["concurrency"] == 1 else set()
        assert set(row) == {"model", "format", "concurrency"} | ALWAYS | COSTS | extra
        assert all(row[name] > 0 for name in ALWAYS)
        assert 1 <= row["rows_per_pass"] <= row["concurrency"]
    serve.plot(result, tmp_path / "serve.png")


@pytest.mark.parametrize("passes", [[[(1, 28)], [(1, 28)]], [[(1, 20)], [(1, 8)], [(1, 28)]]])
def test_requests_are_found_in_passes(passes: list[Pass]) -> None:
    model = vssm.load("mnist")
    assert list(serve.requests(model, passes, [1.0, 2.0, 3.0])) == ([1.0, 2.0] if len(passes) == 2 else [3.0, 3.0])
