"""Short chaos runs: random faults, a rolling restart, several hosts; and a run that must be found wrong."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.chaos.hosts import missing
from tests.chaos.run import Plan, run, run_on_hosts

WHY_NOT = missing()


@pytest.mark.slow
def test_random_faults(tmp_path: Path) -> None:
    report = asyncio.run(run(Plan(requests=400, every_seconds=1.0, seed=11, faults=5), tmp_path))
    assert report["passed"], report
    assert sum(sum(faults.values()) for faults in report["faults"].values()) >= 5


@pytest.mark.slow
def test_control_retries_without_a_key_are_noticed(tmp_path: Path) -> None:
    plan = Plan(
        requests=600,
        every_seconds=1.0,
        seed=12,
        keyed=False,
        signals=(signal.SIGKILL,),
        victims=("api",),
        quiet_seconds=0,
        faults=5,
    )
    report = asyncio.run(run(plan, tmp_path))
    assert any("was right" in text for text in report["violations"]), report
    assert report["values_wrong"] > 0


@pytest.mark.slow
def test_a_rolling_restart_is_healed_by_retries(tmp_path: Path) -> None:
    report = asyncio.run(run(Plan(requests=300, clients=8, seed=13, rolling=True), tmp_path))
    assert report["passed"], report
    assert all(faults == {"SIGTERM": 1} for faults in report["faults"].values())


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=f"NOT RUN: {WHY_NOT}")
def test_workers_on_hosts_of_their_own_and_a_cut_link(tmp_path: Path) -> None:
    report = asyncio.run(run_on_hosts(Plan(requests=300, clients=16, seed=14), tmp_path))
    assert report["passed"], report
