"""Graphs: padding does not show, shapes share buckets, and there are never too many of them."""

import pytest
import torch
from torch import Tensor

from vssm.cuda.graphs import LARGEST, Graphs

TIMED = ("x", "sums")


def sums(inputs: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """A recurrence over the steps, and its value at the last step of each row."""
    assert inputs["x"].shape[1] == steps
    h = inputs["x"].cumsum(1) + inputs["start"][:, None]
    return {"sums": h, "end": h[torch.arange(len(h), device=h.device), inputs["last"]]}


def problem(rows: int, steps: int, device: torch.device) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(rows * 1000 + steps)
    x, start = torch.randint(9, (rows, steps, 3), generator=random), torch.randint(9, (rows, 3), generator=random)
    given = {"x": x, "start": start, "last": torch.randint(steps, (rows,), generator=random)}
    return {name: tensor.to(device) for name, tensor in given.items()}


def test_padding_does_not_show(device: torch.device) -> None:
    graphs = Graphs()
    for rows, steps in ((3, 5), (4, 16), (1, 1), (3, 2), (100, 7), (3, 5)):
        given = problem(rows, steps, device)
        found, expected = graphs.run("sums", sums, given, steps, TIMED), sums(given, steps)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected), (rows, steps)
    assert len(graphs) == 3


def test_the_least_recently_used_is_forgotten(device: torch.device) -> None:
    graphs = Graphs(limit=2)
    for rows in (1, 2, 1, 4):
        graphs.run("sums", sums, problem(rows, 1, device), 1, TIMED)
    assert list(graphs._graphs) == [("sums", (1, 1)), ("sums", (4, 1))]


@pytest.mark.parametrize(("rows", "steps"), [(5000, 1), (1, 20_000), (LARGEST // 1024 + 1, 1000)])
def test_what_is_large_runs_as_it_is(rows: int, steps: int, device: torch.device) -> None:
    graphs = Graphs()
    given = problem(rows, steps, device)
    assert torch.equal(graphs.run("sums", sums, given, steps, TIMED)["sums"], sums(given, steps)["sums"])
    assert len(graphs) == 0
