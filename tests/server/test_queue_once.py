"""The queue under an Idempotency-Key: a request is accepted once, and its record has what became of it."""

import msgspec
import pytest
import redis
from vssm_server import keys
from vssm_server.connect import entries, script
from vssm_server.messages import Failure, Request, decode_reply, decode_request, encode
from vssm_server.queue import Saved
from vssm_server.seal import JOB, answer_of

from tests.server.queues import REQUEST, SEAL, commit_of, done, end, load, new_session

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
