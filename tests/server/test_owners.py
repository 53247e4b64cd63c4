"""What is counted for an API key in Redis: its share of the stream, its backlog, rates and what it has stored."""

import asyncio
from typing import Any

import msgspec
import pytest
import redis
from vssm_server import counters, keys
from vssm_server.connect import connect_async, entries
from vssm_server.errors import Problem
from vssm_server.hub import Hub, Waiter
from vssm_server.messages import Failure, Request
from vssm_server.queue import End
from vssm_server.quotas import Quotas, Terms, terms_of
from vssm_server.settings import Settings

from tests.server.queues import REQUEST, SEAL, add, commit_of, done, opened

FREE = terms_of("alice", Quotas(), Settings(key_concurrent_requests=0, key_open_streams=0))


def terms(owner: str = "alice", /, **limits: int) -> Terms:
    return msgspec.structs.replace(FREE, owner=owner, **limits)


def request(number: int, **changes: Any) -> Request:
    fields = {"id": f"gen_{number}", "session_id": None, "resume": False, "owner": "alice", **changes}
    return msgspec.structs.replace(REQUEST, **fields)


def submit(
    url: str, offers: list[tuple[Request, Terms]], share: int = 2, limit: int = 1000, size: int = 0
) -> list[Any]:
    """A waiter, or the type of the problem, for each; one after the other."""

    async def all_of_them() -> list[Any]:
        client = connect_async(url, 5.0)
        hub = Hub(client, client, limit, lambda jobs: 1, SEAL, lambda: share)
        answers: list[Any] = []
        for each, limits in offers:
            try:
                answers.append(await hub.submit(each, 0, terms=limits, size=size))
            except Problem as problem:
                answers.append(problem)
        await client.aclose()
        return answers

    return asyncio.run(all_of_them())


@pytest.fixture(autouse=True)
def company(client: redis.Redis) -> None:
    """Another owner has jobs, too: who is alone may have more than a share."""
    client.zadd(keys.ACTIVE, {keys.owner("somebody"): 2**45})


def accepted(answers: list[Any]) -> list[bool]:
    return [isinstance(answer, Waiter) for answer in answers]


def waiting(client: redis.Redis, owner: str = "alice") -> tuple[int, int, int]:
    """In the stream, inside by the books, in the backlog."""
    inside = client.hget(keys.owner(owner), "inside")
    return client.xlen(keys.JOBS), int(inside or 0), client.llen(keys.backlog(owner))


def test_beyond_its_share_an_owner_waits_and_others_do_not(client: redis.Redis, valkey_url: str) -> None:
    queue = opened(client, "a")
    flood = [(request(number), FREE) for number in range(6)]
    submit(valkey_url, [*flood, (request(9, owner="bob"), terms("bob"))])
    assert waiting(client) == (3, 2, 4)
    assert client.get(keys.BACKLOGGED) == b"4"
    taken = queue.take(0, 100)
    assert [job.request.id for job in taken] == ["gen_0", "gen_1", "gen_9"]
    order = []
    while taken:
        job = taken.pop(0)
        order.append(job.request.id)
        assert queue.commit([End(job, done(job))]) == ["done"]
        taken += queue.take(len(taken), 100)
    assert order == ["gen_0", "gen_1", "gen_9", "gen_2", "gen_3", "gen_4", "gen_5"]
    assert waiting(client) == waiting(client, "bob") == (0, 0, 0)
    assert client.get(keys.BACKLOGGED) == b"0"


def test_who_is_alone_may_have_more_until_another_comes(client: redis.Redis, valkey_url: str) -> None:
    queue = opened(client, "a")
    client.delete(keys.ACTIVE)
    submit(valkey_url, [(request(number), FREE) for number in range(30)], share=1)
    assert waiting(client) == (16, 16, 14)
    submit(valkey_url, [(request(99, owner="bob"), terms("bob"))], share=1)
    for job in queue.take(0, 100)[:15]:  # nothing more of alice's comes in until she is down to her share
        queue.commit([End(job, done(job))])
    assert waiting(client) == (2, 1, 14)
    [bob] = [job for job in queue.held([]) if job.request.owner == "bob"]
    queue.commit([End(bob, done(bob))])
    client.zrem(keys.ACTIVE, keys.owner("bob"))  # some seconds later
    [job] = queue.held([])
    queue.commit([End(job, done(job))])
    assert waiting(client)[1:] == (14, 0)


def test_however_a_job_ends_the_next_takes_its_place(client: redis.Redis, valkey_url: str) -> None:
    queue = opened(client, "a")
    submit(valkey_url, [(request(number, timeout_ms=60_000), FREE) for number in range(4)], share=1)
    [job] = queue.take(0, 9)
    assert queue.fail(job, Failure("gen_0", "generation_failed", "m", None, 500)) == "done"
    assert queue.commit([End(job, done(job))]) == ["gone"]  # and nothing is counted twice
    [job] = queue.take(0, 9)
    client.set(keys.cancel(job.request.id), 1)
    assert queue.commit([End(job, done(job))]) == ["cancelled"]
    assert waiting(client) == (1, 1, 2)
    assert queue.fail(job, None) == "done"
    [(entry, _)] = entries([(b"", client.xrange(keys.JOBS))])
    client.xreadgroup(keys.GROUP, "a", {keys.JOBS: ">"})
    assert waiting(client) == (1, 1, 1)
    queue._discard(
        keys=[keys.JOBS, keys.ASIDE, keys.TOTALS, keys.BACKLOGGED, keys.ACTIVE],
        args=[keys.GROUP, entry, b"", counters.FINISHED.of("", counters.DISCARDED), keys.BACKLOG, keys.OWNER],
    )
    [job] = queue.take(0, 9)
    assert job.request.id == "gen_3"
    assert queue.commit([End(job, done(job))]) == ["done"]
    assert waiting(client) == (0, 0, 0)
    ends = {
        ("", counters.DISCARDED),
        *((REQUEST.model, how) for how in (counters.DONE, counters.FAILED, counters.LEFT)),
    }
    counted = {counters.FINISHED.of(*end): 1 for end in ends} | {counters.REQUESTS.of(REQUEST.model): 4}
    assert client.hgetall(keys.TOTALS) == {name.encode(): b"%d" % amount for name, amount in counted.items()}


def test_the_deadline_counts_from_the_acceptance_also_in_the_backlog(client: redis.Redis, valkey_url: str) -> None:
    queue = opened(client, "a")
    submit(valkey_url, [(request(number), FREE) for number in range(2)], share=1)
    seconds, _ = client.time()
    [first] = queue.take(0, 9)
    waiting_job = client.lindex(keys.backlog("alice"), 0)
    assert isinstance(waiting_job, bytes)
    client.lset(keys.backlog("alice"), 0, waiting_job.replace(b"17", b"16", 1))  # type: ignore[arg-type]
    assert queue.commit([End(first, done(first))]) == ["done"]
    [second] = queue.take(0, 9)
    assert second.accepted_ms < 1000 * (seconds - 10**6)
    assert queue.commit([End(second, done(second))]) == ["late"]
    [held] = queue.held([])
    assert held.accepted_ms == second.accepted_ms
    client.delete(keys.beat("a"))
    [claimed] = opened(client, "b").claim(9, 1)
    assert claimed.accepted_ms == second.accepted_ms


def test_the_bound_of_the_queue_counts_backlogs(client: redis.Redis, valkey_url: str) -> None:
    answers = submit(valkey_url, [(request(number), FREE) for number in range(5)], share=1, limit=4)
    assert accepted(answers) == [True, True, True, True, False]
    assert not add(client, 4)


@pytest.mark.parametrize(
    ("limits", "changes", "expected"),
    [
        ({"requests_per_minute": 3}, {}, 3),
        ({"steps_per_minute": 10}, {"length": 2, "num_samples": 2}, 2),
        ({"concurrent_requests": 2}, {}, 2),
        ({"open_streams": 1}, {"stream": True}, 1),
        ({"stored_sessions": 2}, {"session_id": "new"}, 2),
        ({"stored_bytes": 300}, {"session_id": "new"}, 3),
    ],
)
def test_each_quota(
    client: redis.Redis, valkey_url: str, limits: dict[str, int], changes: dict[str, Any], expected: int
) -> None:
    offers = []
    for number in range(expected + 1):
        own = {**changes, "session_id": f"sess_{number}"} if "session_id" in changes else changes
        offers.append((request(number, **own), terms(**limits)))
    other = (request(99, **{**changes, "owner": "bob"}), terms("bob", **limits))
    answers = submit(valkey_url, [*offers, other], size=100)
    assert accepted(answers) == [True] * expected + [False, True]
    problem = answers[expected]
    assert problem.body.type == "quota_exceeded"
    assert 1 <= problem.retry_after <= 3600
    if "minute" in next(iter(limits)):
        assert problem.headers["RateLimit-Limit"] == str(*limits.values())
        assert problem.headers["RateLimit-Remaining"] == "0"
        assert answers[0].headers["RateLimit-Limit"] == str(*limits.values())


def test_what_ends_makes_room(client: redis.Redis, valkey_url: str) -> None:
    queue = opened(client, "a")
    limits = terms(concurrent_requests=1, open_streams=1, stored_sessions=1, stored_bytes=1000)
    for number in range(3):
        fields = {"stream": True, "session_id": f"sess_{number}"}
        assert accepted(submit(valkey_url, [(request(number, **fields), limits)], size=100)) == [True]
        [job] = queue.take(0, 9)
        if number == 1:
            assert queue.fail(job, None) == "done"
            continue
        assert queue.commit([End(job, done(job), commit_of(b"state", b"0"))]) == ["done"]
        assert client.hgetall(keys.stored("alice")[1]) == {f"sess_{number}".encode(): b"5", b"total": b"5"}
        client.zadd(keys.stored("alice")[0], {f"sess_{number}": 1})  # it has expired
    assert client.hget(keys.owner("alice"), "streams") == b"0"
    assert all(client.pttl(name) > 0 for name in (*keys.stored("alice"), keys.owner("alice"), keys.BACKLOGGED))


def test_what_is_stored_is_kept_no_longer_than_the_last_session(client: redis.Redis, valkey_url: str) -> None:
    """Room for a session that is never made was kept for two minutes; the one that is saved lasts one."""
    queue = opened(client, "a")
    offers = [(request(number, session_id=f"sess_{number}", timeout_ms=60_000), FREE) for number in range(2)]
    submit(valkey_url, offers, size=5)
    saved, failed = queue.take(0, 9)
    assert queue.commit([End(saved, done(saved), commit_of(b"state", b"0"))]) == ["done"]
    assert all(client.pttl(name) > 60_000 for name in keys.stored("alice"))
    assert queue.fail(failed, None) == "done"
    assert all(0 < client.pttl(name) <= 60_000 for name in keys.stored("alice"))
    client.flushall()
    submit(valkey_url, offers[:1], size=5)
    opened(client, "a").fail(queue.take(0, 9)[0], None)
    assert client.exists(*keys.stored("alice")) == 0


def test_a_refused_request_counts_nothing(client: redis.Redis, valkey_url: str) -> None:
    limits = terms(requests_per_minute=100, stored_sessions=1)
    offers = [(request(number, session_id=f"sess_{number}"), limits) for number in range(3)]
    first, *others = submit(valkey_url, offers, share=5)
    assert accepted(others) == [False, False]
    assert first.headers["RateLimit-Remaining"] == "99"
    [again] = submit(valkey_url, [(request(5), limits)], share=5)
    assert again.headers["RateLimit-Remaining"] == "98"
    assert waiting(client) == (2, 2, 0)


def test_a_rate_is_paid_off_evenly(client: redis.Redis, valkey_url: str) -> None:
    limits = terms(requests_per_minute=60)
    answers = submit(valkey_url, [(request(number), limits) for number in range(61)], share=100)
    assert accepted(answers) == [True] * 60 + [False]
    assert answers[60].retry_after == 1
    due = float(client.hget(keys.owner("alice"), "requests") or 0)
    client.hset(keys.owner("alice"), "requests", due - 30_000)  # half a minute later
    answers = submit(valkey_url, [(request(number), limits) for number in range(31)], share=100)
    assert 29 <= sum(accepted(answers)) <= 31


def test_a_request_that_could_never_be_paid_is_told_so() -> None:
    with pytest.raises(Problem, match="10 a minute") as caught:
        terms(steps_per_minute=10).check_steps(11)
    assert caught.value.body.code == 422
