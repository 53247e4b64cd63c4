"""The queue against a real Valkey: one reply, one commit, whatever happens to the worker."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from redis.exceptions import OutOfMemoryError
from vssm_server import keys
from vssm_server.connect import entries, script
from vssm_server.messages import Array, Chunk, Done, Failure, Request, SessionHead, decode_reply, decode_request, encode
from vssm_server.queue import Commit, End, Job, Queue, Saved, digest_of
from vssm_server.seal import JOB, Seal, answer_of, reply_to
from vssm_server.versions import Versions

SEAL = Seal(b"the key of the tests")
HEAD = SessionHead(model="m", fingerprint="f", seed=1, position=4, num_samples=1, state_bytes=5, ttl_ms=60_000)
REQUEST = Request(
    id="gen_1",
    reply_to="api",
    model="m",
    num_samples=1,
    seed=1,
    length=4,
    prefix=None,
    temperature=1.0,
    output="sample",
    stream=False,
    session_id="sess_x",
    resume=True,
    ttl_ms=None,
    timeout_ms=60_000,
    idempotency=None,
)


def add(client: redis.Redis, limit: int = 100, **changes: str | int) -> bool:
    request = msgspec.structs.replace(REQUEST, **changes)
    args: list[int | str | bytes] = [limit, SEAL.close(JOB, encode(request)), "requests"]
    names = [keys.JOBS, keys.TOTALS, keys.BACKLOGGED, ""]
    answer: bytes = client.register_script(script("enqueue"))(keys=names, args=args)
    return answer == b"accepted"


def done(job: Job) -> Done:
    return Done(id=job.request.id, fingerprint="f", seed=1, position=4, values=None, queue_ms=0, generate_ms=0)


def commit_of(state: bytes, replaces: bytes) -> Commit:
    return Commit(msgspec.structs.replace(HEAD, digest=digest_of(state)), state, replaces)


def end(queue: Queue, job: Job, commit: Commit, answer: Done | None = None) -> str:
    [said] = queue.commit([End(job, done(job), commit, answer)])
    return said


def load(queue: Queue, job: Job) -> Saved | str:
    [saved] = queue.load([job])
    return saved


def replies(client: redis.Redis) -> list[str]:
    found = entries([(b"", client.xrange(keys.replies("api")))])
    return [decode_reply(SEAL.open(reply_to("api"), fields[b"reply"])).id for _, fields in found]


def opened(client: redis.Redis, name: str, alive: bool = True) -> Queue:
    queue = Queue(client, name, SEAL)
    queue.open()
    if alive:
        client.set(keys.beat(name), b"", px=60_000)
    return queue


def new_session(client: redis.Redis) -> Queue:
    queue = opened(client, "a")
    add(client, id="gen_0", resume=False)
    [job] = queue.take(0, 1)
    assert end(queue, job, commit_of(b"state", b"0")) == "done"
    return queue


def test_a_job_is_taken_and_finished_once(client: redis.Redis) -> None:
    queue = new_session(client)
    assert replies(client) == ["gen_0"]
    assert client.xlen(keys.JOBS) == 0
    assert client.xpending_range(keys.JOBS, keys.GROUP, "-", "+", 10) == []
    assert queue.take(0, 1) == []


def test_the_bound(client: redis.Redis) -> None:
    opened(client, "a")
    assert [add(client, 2, id=f"gen_{i}") for i in range(3)] == [True, True, False]


class Late(Versions):
    """Something happens between reading a state and asking whether it may be."""

    happens: Callable[[], object] | None = None

    def see(self, session_id: str, version: int) -> bool:
        if (happens := self.happens) is not None:
            self.happens = None
            happens()
        return super().see(session_id, version)


def test_a_state_that_is_saved_while_it_is_read_is_read_again(client: redis.Redis) -> None:
    queue = new_session(client)
    queue._versions = versions = Late(most=1)
    for name in ("gen_1", "gen_2", "gen_3"):
        add(client, id=name)
    one, two, three = queue.take(0, 3)
    saved = load(queue, one)
    assert isinstance(saved, Saved)
    versions.happens = lambda: end(queue, one, commit_of(b"new", saved.version))
    again = load(queue, two)
    assert isinstance(again, Saved)
    assert (again.version, again.state) == (b"2", b"new")
    versions.see(two.request.session_id or "", 3)  # another worker has, and Redis fell back
    assert load(queue, three) == "untrusted"


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


RECORD = keys.idempotency("a key")
KEYED = msgspec.structs.replace(REQUEST, idempotency=RECORD)


def add_keyed(client: redis.Redis, request: Request = KEYED) -> bytes:
    sealed = SEAL.close(JOB, encode(request))
    args: list[int | str | bytes] = [10, sealed, "requests", request.id, b"digest", b"plan", 60_000]
    names = [keys.JOBS, keys.TOTALS, keys.BACKLOGGED, RECORD]
    answer: bytes = client.register_script(script("enqueue"))(keys=names, args=args)
    return answer


def test_a_key_is_accepted_once_and_remembers_the_answer(client: redis.Redis) -> None:
    queue = new_session(client)
    assert [add_keyed(client), add_keyed(client)] == [b"accepted", b"known"]
    assert client.hmget(RECORD, ["job", "answer"]) == [b"gen_1", None]
    [job] = queue.take(0, 10)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    assert end(queue, job, commit_of(b"new", saved.version), done(job)) == "done"
    answer = client.hget(RECORD, "answer")
    assert isinstance(answer, bytes)
    assert decode_reply(SEAL.open(answer_of(RECORD), answer)) == done(job)
    assert add_keyed(client) == b"known"
    assert 0 < client.pttl(RECORD) <= 60_000


@pytest.mark.parametrize("failure", [None, Failure("gen_1", "generation_failed", "m", None, 500)])
def test_a_failure_is_forgotten_so_that_a_retry_runs(client: redis.Redis, failure: Failure | None) -> None:
    queue = new_session(client)
    add_keyed(client)
    [job] = queue.take(0, 10)
    assert queue.fail(job, failure) == "done"
    assert add_keyed(client) == b"accepted"


def test_an_earlier_job_does_not_touch_a_later_record(client: redis.Redis) -> None:
    queue = new_session(client)
    add_keyed(client)
    [job] = queue.take(0, 10)
    client.delete(RECORD)
    add_keyed(client, msgspec.structs.replace(KEYED, id="gen_2"))
    assert queue.fail(job, None) == "done"
    assert client.hget(RECORD, "job") == b"gen_2"


def test_a_deadly_request_is_set_aside_and_its_failure_remembered(client: redis.Redis) -> None:
    queue = new_session(client)
    add_keyed(client)
    [job] = queue.take(0, 10)
    assert queue.fail(job, Failure("gen_1", "generation_failed", "m", None, 500), aside=True) == "done"
    assert add_keyed(client) == b"known"
    [(_, fields)] = entries([(keys.ASIDE, client.xrange(keys.ASIDE))])
    assert decode_request(SEAL.open(JOB, fields[b"job"])).id == "gen_1"


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


Attack = Callable[[redis.Redis, str, dict[Any, Any]], None]


def attacks() -> dict[str, Attack]:
    """What somebody who can write Redis does to a session; `older` is what it was before its last commit."""

    def change(field: bytes) -> Attack:
        def attack(client: redis.Redis, name: str, _: dict[Any, Any]) -> None:
            value = client.hget(name, field)
            assert isinstance(value, bytes)
            client.hset(name, field, bytes([value[0] ^ 1]) + value[1:])

        return attack

    def swap(client: redis.Redis, name: str, _: dict[Any, Any]) -> None:
        other: dict[Any, Any] = dict(client.hgetall(keys.session("sess_other")))
        client.hset(name, mapping=other)

    def replay(client: redis.Redis, name: str, older: dict[Any, Any]) -> None:
        client.hset(name, mapping=older)

    def replay_as_new(client: redis.Redis, name: str, older: dict[Any, Any]) -> None:
        replay(client, name, older)
        client.hincrby(name, "version", 1)

    def mix(client: redis.Redis, name: str, older: dict[Any, Any]) -> None:
        client.hset(name, "state", older[b"state"])

    def command(name: str, *arguments: Any) -> Attack:
        def attack(client: redis.Redis, key: str, _: dict[Any, Any]) -> None:
            client.execute_command(name, key, *arguments)  # type: ignore[no-untyped-call]

        return attack

    return {
        "state": change(b"state"),
        "head": change(b"head"),
        "version": command("HINCRBY", "version", 1),
        "no version": command("HDEL", "version"),
        "junk": command("HSET", "head", b"x"),
        "swap": swap,
        "replay": replay,
        "replay as new": replay_as_new,
        "mix": mix,
    }


@pytest.mark.parametrize("name", attacks())
def test_a_state_that_is_not_the_one_saved_last_is_refused(client: redis.Redis, name: str) -> None:
    queue = new_session(client)
    add(client, id="gen_o", session_id="sess_other", resume=False)
    [other] = queue.take(0, 1)
    assert end(queue, other, commit_of(b"other", b"0")) == "done"
    older: dict[Any, Any] = dict(client.hgetall(keys.session("sess_x")))
    add(client)
    [job] = queue.take(0, 1)
    saved = load(queue, job)
    assert isinstance(saved, Saved)
    assert end(queue, job, commit_of(b"new", saved.version)) == "done"
    add(client, id="gen_2")
    [resume] = queue.take(0, 1)
    assert isinstance(load(queue, resume), Saved)  # the control
    attacks()[name](client, keys.session("sess_x"), older)
    assert load(queue, resume) == "untrusted"
    stranger = opened(client, "b")  # a worker that never saw the session, told by the API what is the least
    told = dataclasses.replace(resume, request=msgspec.structs.replace(resume.request, session_version=2))
    assert load(stranger, told) == "untrusted"


def test_a_job_that_is_made_up_or_changed_is_set_aside(client: redis.Redis) -> None:
    queue = opened(client, "a")
    forged = [
        encode(REQUEST),
        Seal(b"another key").close(JOB, encode(REQUEST)),
        SEAL.close(reply_to("api"), encode(REQUEST)),
        SEAL.close(JOB, encode(REQUEST))[:-1] + b"x",
        b"",
    ]
    for payload in forged:
        client.xadd(keys.JOBS, {"job": payload})
    assert queue.take(0, 10) == []
    assert client.xlen(keys.JOBS) == 0
    assert client.xlen(keys.ASIDE) == len(forged)


def test_a_job_of_another_owner_finds_no_session(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, owner="alice")
    [job] = queue.take(0, 1)
    assert load(queue, job) == "missing"
