"""How long the queue will take, as the workers' heartbeats show it."""

import pytest
from vssm_server.fleet import Pace
from vssm_server.messages import Heartbeat


def heartbeat(name: str, ended: int) -> Heartbeat:
    return Heartbeat(worker=name, models={}, failed={}, running=0, ended=ended)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [0.0]
    monkeypatch.setattr("vssm_server.fleet.time.monotonic", lambda: time[0])
    return time


def run(pace: Pace, clock: list[float], seconds: int, per_second: int, busy: bool = True, ended: int = 0) -> int:
    for _ in range(2 * seconds):
        clock[0] += 0.5
        ended += per_second // 2
        pace.see([heartbeat("a", ended), heartbeat("b", ended)], busy)
    return ended


def test_the_pace_is_that_of_all_workers(clock: list[float]) -> None:
    pace = Pace()
    run(pace, clock, 60, per_second=20)
    assert pace.jobs_per_second == pytest.approx(40, rel=0.01)


def test_the_pace_follows_and_forgets(clock: list[float]) -> None:
    pace = Pace()
    ended = run(pace, clock, 60, per_second=20)
    run(pace, clock, 60, per_second=2, ended=ended)
    assert pace.jobs_per_second == pytest.approx(4, rel=0.05)


def test_idleness_says_nothing_about_the_pace(clock: list[float]) -> None:
    pace = Pace()
    ended = run(pace, clock, 60, per_second=20)
    run(pace, clock, 600, per_second=0, busy=False, ended=ended)
    assert pace.jobs_per_second == pytest.approx(40, rel=0.01)


def test_a_worker_that_is_new_or_gone_does_not_disturb(clock: list[float]) -> None:
    pace = Pace()
    ended = run(pace, clock, 60, per_second=20)
    for names in (("a",), ("a", "new")):
        clock[0] += 0.5
        ended += 20
        pace.see([heartbeat(name, ended) for name in names], busy=True)
    assert pace.jobs_per_second == pytest.approx(40, rel=0.02)
