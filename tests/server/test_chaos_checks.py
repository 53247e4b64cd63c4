"""The chaos run's checks notice what they look for."""

import copy
from pathlib import Path

import pytest
import redis
from vssm_server import keys

from tests.chaos.checks import compare, leaks
from tests.chaos.client import Ledger, Part, Story
from tests.server.models import build
from vssm import save


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """As it should be: 6 steps after a prefix of 2, then 5 more."""
    model = build("series")
    save(model, tmp_path / "series")
    prefix = [[0.5, -1.0], [0.25, 2.0]]
    first = model.generate(prefix=prefix, num_samples=2, length=6, seed=3)
    second = model.generate(state=first.state, length=5)
    parts = [Part(prefix, 6, first.values.tolist()), Part(None, 5, second.values.tolist())]
    return Story("series", 3, 2, parts, "sess_1")


def wrong(story: Story, folder: Path) -> int:
    return compare(Ledger(stories=[story]), folder)[1]


def test_the_reference_agrees_with_what_is_right(story: Story, tmp_path: Path) -> None:
    assert compare(Ledger(stories=[story]), tmp_path) == (44, 0)


def test_the_reference_notices_what_is_wrong(story: Story, tmp_path: Path) -> None:
    other_value, repeated, skipped = copy.deepcopy(story), copy.deepcopy(story), copy.deepcopy(story)
    other_value.parts[1].values[0][0][0] += 1e-6
    repeated.parts.insert(1, Part(None, 5, story.parts[1].values))
    skipped.parts[0] = Part(None, 6, story.parts[0].values)
    assert wrong(other_value, tmp_path) == 1
    assert wrong(repeated, tmp_path) > 0
    assert wrong(skipped, tmp_path) > 0


def test_leaks_are_noticed(client: redis.Redis, story: Story) -> None:
    client.xgroup_create(keys.JOBS, keys.GROUP, mkstream=True)
    client.set(keys.session("sess_1"), 1, px=10_000)
    ledger = Ledger(stories=[story])
    assert leaks(client, ledger, [], workers=0, quiet_seconds=0) == []
    client.set("vssm:forgotten", 1)
    client.set(keys.session("sess_2"), 1, px=10_000)
    client.xadd(keys.JOBS, {"job": b""})
    client.xreadgroup(keys.GROUP, "dead", {keys.JOBS: ">"})
    client.delete(keys.session("sess_1"))
    found = " ".join(leaks(client, ledger, [], workers=0, quiet_seconds=0))
    for text in ("1 jobs", "1 pending", "1 consumers", "forgotten never expires", "sess_2 is nobody", "sess_1 is gone"):
        assert text in found
