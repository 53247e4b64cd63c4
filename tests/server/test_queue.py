"""The queue against a real Valkey: one reply, one commit, whatever happens to the worker."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis
from redis.exceptions import OutOfMemoryError
from vssm_server import keys
from vssm_server.connect import script
from vssm_server.messages import Array, Chunk, Failure, encode
from vssm_server.queue import End, Saved
from vssm_server.seal import reply_to

from tests.server.queues import SEAL, add, commit_of, done, end, load, new_session, opened, replies


def test_a_job_is_taken_and_finished_once(client: redis.Redis) -> None:
    queue = new_session(client)
    assert replies(client) == ["gen_0"]
    assert client.xlen(keys.JOBS) == 0
    assert client.xpending_range(keys.JOBS, keys.GROUP, "-", "+", 10) == []
    assert queue.take(0, 1) == []


def test_the_bound(client: redis.Redis) -> None:
    opened(client, "a")
    assert [add(client, 2, id=f"gen_{i}") for i in range(3)] == [True, True, False]


def test_a_dead_workers_job_is_claimed_and_the_slow_one_is_fenced(client: redis.Redis) -> None:
    slow = new_session(client)
    add(client)
    [job] = slow.take(0, 1)
    saved = load(slow, job)
    assert isinstance(saved, Saved)
    fast = opened(client, "b")
    assert fast.claim(10, 1) == []  # the slow one's heart still beats
    client.delete(keys.beat("a"))
    [claimed] = fast.claim(10, 1)
    assert claimed.deliveries == 2
    commit = commit_of(b"new", saved.version)
    assert end(slow, job, commit) == "gone"
    assert end(fast, claimed, commit) == "done"
    assert end(slow, job, commit) == "gone"
    assert replies(client) == ["gen_0", "gen_1"]
    assert client.hget(keys.session("sess_x"), "version") == b"2"


def test_suspects_are_taken_one_at_a_time(client: redis.Redis) -> None:
    first = opened(client, "a", alive=False)
    for i in range(3):
        add(client, id=f"gen_{i}")
    first.take(0, 10)
    second = opened(client, "b", alive=False)
    assert [job.deliveries for job in second.claim(10, 1)] == [2, 2, 2]
    third = opened(client, "c")
    assert [job.deliveries for job in third.claim(10, 1)] == [3]
    assert third.claim(10, 0) == []


def test_two_resumes_from_one_version_commit_once(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, id="gen_1")
    add(client, id="gen_2")
    one, two = queue.take(0, 2)
    saved = load(queue, one)
    assert isinstance(saved, Saved)
    commit = commit_of(b"new", saved.version)
    assert end(queue, one, commit) == "done"
    assert end(queue, two, commit) == "stale"
    assert replies(client) == ["gen_0", "gen_1"]


def test_a_lease_keeps_others_out_until_its_job_ends(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, id="gen_1", stream=True)
    add(client, id="gen_2")
    streaming, other = queue.take(0, 2)
    saved = load(queue, streaming)
    assert isinstance(saved, Saved)
    assert load(queue, other) == "leased"
    assert end(queue, other, commit_of(b"new", saved.version)) == "leased"
    assert end(queue, streaming, commit_of(b"new", saved.version)) == "done"
    assert isinstance(load(queue, other), Saved)


def test_a_failed_stream_gives_its_lease_back(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, id="gen_1", stream=True)
    add(client, id="gen_2")
    streaming, other = queue.take(0, 2)
    load(queue, streaming)
    queue.fail(streaming, Failure("gen_1", "generation_failed", "m", None, 500))
    assert isinstance(load(queue, other), Saved)


def test_a_stream_whose_session_expires_meanwhile_says_so(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, id="gen_1", stream=True)
    [streaming] = queue.take(0, 1)
    load(queue, streaming)
    chunk = Chunk("gen_1", 1, Array.pack(np.zeros((1, 1, 1))))
    client.set(keys.alive(streaming.request.reply_to), 1)
    assert queue.emit([(streaming, chunk)]) == ["sent"]
    client.delete(keys.session("sess_x"))
    assert queue.emit([(streaming, chunk)]) == ["missing"]


def test_nothing_is_committed_after_the_deadline(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, timeout_ms=-1000)
    [job] = queue.take(0, 1)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    assert end(queue, job, commit_of(b"new", saved.version)) == "late"
    assert client.hget(keys.session("sess_x"), "state") == b"state"


def test_a_deleted_session_is_not_made_again(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client)
    [job] = queue.take(0, 1)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    client.delete(keys.session("sess_x"))
    assert end(queue, job, commit_of(b"new", saved.version)) == "missing"
    assert not client.exists(keys.session("sess_x"))


def test_a_revoked_job_is_not_committed(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client)
    [job] = queue.take(0, 1)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    failure = SEAL.close(reply_to("api"), encode(Failure("gen_1", "redis_unavailable", "m", None, 503)))
    client.register_script(script("revoke"))(keys=[keys.cancel("gen_1"), keys.replies("api")], args=[1000, failure])
    assert end(queue, job, commit_of(b"new", saved.version)) == "cancelled"
    assert queue.fail(job, None) == "done"
    assert client.hget(keys.session("sess_x"), "state") == b"state"
    assert replies(client) == ["gen_0", "gen_1"]


@pytest.mark.parametrize("job_id", ["gen_1", "gen_2"])
def test_cancelled_jobs_are_found(client: redis.Redis, job_id: str) -> None:
    queue = opened(client, "a")
    add(client, id="gen_1")
    add(client, id="gen_2")
    client.set(keys.cancel(job_id), 1)
    jobs = queue.take(0, 10)
    assert [job.request.id for job in queue.cancelled(jobs)] == [job_id]


def test_closing_leaves_no_consumer(client: redis.Redis) -> None:
    queue = opened(client, "a")
    queue.take(0, 1)
    queue.close()
    assert client.xinfo_consumers(keys.JOBS, keys.GROUP) == []


def test_reading_back_what_is_held_is_no_delivery(client: redis.Redis) -> None:
    queue = opened(client, "a")
    add(client)
    queue.take(0, 1)
    assert [[job.deliveries for job in queue.open()] for _ in range(5)] == [[1]] * 5


@pytest.fixture
def full(client: redis.Redis) -> Iterator[Callable[[], object]]:
    """Makes Redis refuse whatever needs memory."""
    yield lambda: client.config_set("maxmemory", 1)
    client.config_set("maxmemory", 0)


def test_a_commit_without_memory_changes_nothing_and_the_failure_still_goes_out(
    client: redis.Redis, full: Callable[[], object]
) -> None:
    queue = new_session(client)
    add(client)
    [job] = queue.take(0, 1)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    full()
    assert end(queue, job, commit_of(b"new", saved.version)) == "full"
    assert client.hmget(keys.session("sess_x"), ["state", "version"]) == [b"state", b"1"]
    assert client.xlen(keys.JOBS) == 1
    assert queue.fail(job, Failure("gen_1", "storage_full", "m", None, 507)) == "done"
    assert client.xlen(keys.JOBS) == 0
    assert replies(client) == ["gen_0", "gen_1"]


def test_a_commit_without_memory_does_not_hurt_the_others(client: redis.Redis, full: Callable[[], object]) -> None:
    queue = opened(client, "a")
    for i in range(3):
        add(client, id=f"gen_{i}", session_id=f"sess_{i}", resume=False)
    sizes = (5, 1 << 20, 5)  # the second comes twice: as it is read, and as an argument
    ends = [
        End(job, done(job), commit_of(b"s" * size, b"0")) for job, size in zip(queue.take(0, 3), sizes, strict=True)
    ]
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + (2 << 20))
    assert queue.commit(ends) == ["done", "full", "done"]
    assert [client.exists(keys.session(f"sess_{i}")) for i in range(3)] == [1, 0, 1]
    assert sorted(replies(client)) == ["gen_0", "gen_2"]
    assert queue.fail(ends[1].job, Failure("gen_1", "storage_full", "m", None, 507)) == "done"
    assert sorted(replies(client)) == ["gen_0", "gen_1", "gen_2"]


def test_jobs_that_end_together_end_each_by_itself(client: redis.Redis) -> None:
    queue = opened(client, "a")
    for i in range(4):
        add(client, id=f"gen_{i}", session_id=f"sess_{i}", resume=False, timeout_ms=-1000 if i == 2 else 60_000)
    jobs = queue.take(0, 4)
    client.set(keys.cancel("gen_1"), 1)
    assert queue.commit([End(job, done(job), commit_of(b"s", b"0")) for job in jobs[:3]]) == [
        "done",
        "cancelled",
        "late",
    ]
    assert queue.commit([End(job, done(job)) for job in [jobs[0], jobs[3]]]) == ["gone", "done"]
    assert replies(client) == ["gen_0", "gen_3"]


@pytest.mark.parametrize("trip_bytes", [1, 100, 1 << 20])
def test_a_redis_that_has_no_scripts_yet_gets_them(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, trip_bytes: int
) -> None:
    monkeypatch.setattr("vssm_server.connect.TRIP_BYTES", trip_bytes)
    queue = opened(client, "a")
    for i in range(5):
        add(client, id=f"gen_{i}", session_id=f"sess_{i}", resume=False)
    jobs = queue.take(0, 5)
    client.script_flush()
    assert queue.commit([End(job, done(job), commit_of(b"s" * 60, b"0")) for job in jobs]) == ["done"] * 5
    assert replies(client) == [f"gen_{i}" for i in range(5)]
    assert queue.commit([]) == []


def test_workers_and_apis_stay_known_without_memory(client: redis.Redis, full: Callable[[], object]) -> None:
    full()
    beat = client.register_script(script("beat", out_of_memory=True))
    beat(keys=[keys.beat("a"), keys.WORKERS], args=[b"report", 1000, "a"])
    assert client.exists(keys.beat("a"))
    with pytest.raises(OutOfMemoryError):  # the control: an ordinary write is refused
        client.set(keys.PROBE, 1)


def test_silent_workers_leave_the_list_by_the_clock_of_redis(client: redis.Redis) -> None:
    seconds = int(client.time()[0])
    client.zadd(keys.WORKERS, {"gone": seconds - 61, "silent": seconds - 50})
    beat = client.register_script(script("beat", out_of_memory=True))
    beat(keys=[keys.beat("a"), keys.WORKERS], args=[b"report", 1000, "a"])
    assert client.zrange(keys.WORKERS, 0, -1) == [b"silent", b"a"]


def test_a_worker_takes_its_fair_share(client: redis.Redis) -> None:
    queues = [opened(client, name) for name in "abc"]
    for name in "abc":
        client.zadd(keys.WORKERS, {name: 1})
    client.delete(keys.beat("c"))  # on the list, but dead
    for i in range(11):
        add(client, 100, id=f"gen_{i}")
    assert len(queues[0].take(0, 256)) == 6
    assert queues[0].take(6, 256) == []
    assert len(queues[1].take(0, 256)) == 5
    assert queues[1].take(0, 256) == []


def test_a_worker_that_is_alone_takes_all_that_it_may_hold(client: redis.Redis) -> None:
    queue = opened(client, "a")
    for i in range(5):
        add(client, 100, id=f"gen_{i}")
    assert [job.request.id for job in queue.wait(10)] == ["gen_0"]
    assert [job.request.id for job in queue.take(1, 4)] == ["gen_1", "gen_2", "gen_3"]
    assert [job.request.id for job in queue.take(0, 256)] == ["gen_4"]
    assert queue.wait(10) == []


def test_what_is_held_unknowingly_is_found(client: redis.Redis) -> None:
    queue = opened(client, "a")
    for i in range(3):
        add(client, 100, id=f"gen_{i}")
    known = queue.take(0, 2)
    client.xreadgroup(keys.GROUP, "a", {keys.JOBS: ">"})  # its answer comes too late
    assert [job.request.id for job in queue.held(known)] == ["gen_2"]
    assert [job.deliveries for job in queue.held(known)] == [1]
    assert queue.held(queue.held([])) == []
