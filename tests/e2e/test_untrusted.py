"""Somebody writes into Redis: what they change, swap or bring back is refused, and made-up messages are not heard."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from vssm_client import Client
from vssm_client.errors import StateUntrustedError
from vssm_server import keys
from vssm_server.connect import connect, entries
from vssm_server.messages import Done, Failure, decode_request, encode
from vssm_server.seal import JOB, SIZE, Seal, reply_to

from tests.e2e.serving import Serve, until, values


@pytest.fixture
def store(serve: Serve) -> Iterator[redis.Redis]:
    """The Redis of the common server."""
    with connect(serve.redis_url) as client:
        yield client


def save(serve: Serve, **more: Any) -> str:
    session: str = serve.generate(**{"model": "pixels", "length": 4, "seed": 1, "save": True, **more})["session_id"]
    return session


def resume(serve: Serve, session: str, **more: Any) -> httpx.Response:
    return serve.client.post("/generate", json={"session_id": session, "length": 2, **more})


def check_refused(response: httpx.Response) -> None:
    assert response.status_code == 409, response.text
    assert response.json()["error"]["type"] == "state_untrusted"


@pytest.mark.parametrize("field", ["head", "state", "version"])
def test_a_changed_state(serve: Serve, store: redis.Redis, field: str) -> None:
    session = save(serve)
    value = store.hget(keys.session(session), field)
    assert isinstance(value, bytes)
    store.hset(keys.session(session), field, b"2" if field == "version" else value[:-1] + bytes([value[-1] ^ 1]))
    check_refused(resume(serve, session))
    check_refused(resume(serve, session, stream=True))
    if field != "state":
        check_refused(serve.client.get(f"/sessions/{session}"))
        check_refused(serve.client.post(f"/sessions/{session}/fork"))
    store.delete(keys.session(session))


def test_a_time_that_is_made_up(serve: Serve, store: redis.Redis) -> None:
    """When a session was made is not signed, as nothing depends on it."""
    session = save(serve)
    for created, status in ((b"9" * 15, 200), (b"9" * 400, 409), (b"soon", 409)):
        store.hset(keys.session(session), "created", created)
        assert serve.client.get(f"/sessions/{session}").status_code == status
    store.delete(keys.session(session))


def test_a_swapped_state(serve: Serve, store: redis.Redis) -> None:
    one, other = save(serve), save(serve, seed=2)
    store.copy(keys.session(other), keys.session(one), replace=True)
    check_refused(resume(serve, one))
    assert resume(serve, other).status_code == 200


def test_an_older_state(serve: Serve, store: redis.Redis, beside: Callable[..., Serve]) -> None:
    """This API and worker know the version; an API that is new asks whoever remembers: the client, or the worker."""
    session = save(serve)
    name, older = keys.session(session), store.dump(keys.session(session))
    assert isinstance(older, bytes)
    with Client(str(serve.client.base_url), retries=0) as client:
        known = client.session(session)
        known.resume(length=2)
        store.restore(name, 60_000, older, replace=True)
        check_refused(resume(serve, session))
        check_refused(serve.client.get(f"/sessions/{session}"))
        api = beside(serve)
        check_refused(resume(api, session, session_version=2))
        check_refused(resume(api, session))  # the worker remembers
    with Client(str(api.client.base_url), retries=0) as client:
        again = client.session(session)
        again._version = known._version
        with pytest.raises(StateUntrustedError):
            again.resume(length=2)


def test_an_older_state_after_everything_was_killed(start: Callable[..., Serve], tmp_path: Path) -> None:
    """No process and no client remembers; the file beside the signing key does, and without it nobody would."""
    serve = start()
    session = save(serve)
    with connect(serve.redis_url) as store:
        older = store.dump(keys.session(session))
        assert isinstance(older, bytes)
        assert resume(serve, session).status_code == 200
        store.restore(keys.session(session), 600_000, older, replace=True)
    serve.kill()
    serve.start()
    check_refused(resume(serve, session))
    check_refused(resume(serve, session, stream=True))
    check_refused(serve.client.get(f"/sessions/{session}"))
    check_refused(serve.client.post(f"/sessions/{session}/fork"))
    serve.kill()
    (tmp_path / "state" / "versions").unlink()
    serve.start()
    assert resume(serve, session).status_code == 200


def test_every_mixture_of_older_and_newer_parts(serve: Serve, store: redis.Redis) -> None:
    """Three parts of four versions: 63 of 64 mixtures are refused, whether or not the request streams."""
    session = save(serve)
    name, parts = keys.session(session), ("head", "state", "version")
    kept = [store.hmget(name, parts)]
    for _ in range(3):
        assert resume(serve, session).status_code == 200
        kept.append(store.hmget(name, parts))
    for number, chosen in enumerate(product(range(4), repeat=3)):
        for place, version in enumerate(chosen):
            value = kept[version][place]
            assert isinstance(value, bytes)
            store.hset(name, parts[place], value)
        answer = resume(serve, session, stream=number % 2 == 1)
        if chosen == (3, 3, 3):
            assert answer.status_code == 200
        else:
            check_refused(answer)


def test_every_damage(serve: Serve, store: redis.Redis) -> None:
    """Bits that fell over, parts cut off or added, at random places."""
    session = save(serve)
    name, rng = keys.session(session), random.Random(5)
    for number in range(100):
        field = rng.choice(("head", "state"))
        good = store.hget(name, field)
        assert isinstance(good, bytes)
        place = rng.randrange(len(good))
        flipped = good[:place] + bytes([good[place] ^ 1 << rng.randrange(8)]) + good[place + 1 :]
        store.hset(name, field, rng.choice([flipped, good[:place], good + good[place:]]))
        check_refused(resume(serve, session, stream=number % 2 == 1))
        store.hset(name, field, good)
    assert resume(serve, session).status_code == 200


def test_a_deleted_session_that_comes_back(serve: Serve, store: redis.Redis) -> None:
    session = save(serve)
    older = store.dump(keys.session(session))
    assert isinstance(older, bytes)
    assert serve.client.delete(f"/sessions/{session}").status_code == 204
    store.restore(keys.session(session), 60_000, older)
    check_refused(resume(serve, session))


def test_versions_are_told_and_go_on_in_a_copy(serve: Serve) -> None:
    first = serve.generate(model="pixels", length=2, save=True)
    session = first["session_id"]
    assert first["session_version"] == 1
    assert resume(serve, session, session_version=1).json()["session_version"] == 2
    check_refused(resume(serve, session, session_version=3))
    copy = serve.client.post(f"/sessions/{session}/fork").json()
    assert copy["version"] == 2
    assert resume(serve, copy["id"], session_version=2).json()["session_version"] == 3
    assert serve.stream(session_id=session, length=2)[-1][1]["session_version"] == 3
    assert serve.generate(model="pixels", length=2)["session_version"] is None


def test_replies_that_are_made_up_are_not_heard(serve: Serve, store: redis.Redis) -> None:
    """Of the right job and in the right stream, but without the signing key; or signed, but for another API."""
    expected = values(serve.generate(model="pixels", length=3, seed=5))
    worker = serve.child("worker")
    worker.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            time.sleep(0.6)  # longer than the worker waits for a job, so that none is handed to it
            answer = pool.submit(serve.generate, model="pixels", length=3, seed=5)
            until(lambda: store.xlen(keys.JOBS))
            [(_, fields)] = entries([(b"", store.xrange(keys.JOBS))])
            request = decode_request(fields[b"job"][SIZE:])
            failure = encode(Failure(request.id, "internal_error", "made up", None, 500))
            done = encode(
                Done(id=request.id, fingerprint="", seed=5, position=3, values=None, queue_ms=0, generate_ms=0)
            )
            for forged in (failure, bytes(SIZE) + failure, Seal(b"x" * 32).close(reply_to(request.reply_to), done)):
                store.xadd(keys.replies(request.reply_to), {"reply": forged})
            time.sleep(0.3)
            assert not answer.done()
            worker.resume()
            assert values(answer.result()) == expected
    finally:
        worker.resume()


def test_what_is_not_signed_may_be_anything(serve: Serve, store: redis.Redis) -> None:
    """Streams, counts and names: nothing ends because of them."""
    for reader in store.scan_iter("vssm:api:*"):
        assert isinstance(reader, bytes)
        name = reader.decode().removeprefix("vssm:api:")
        store.xadd(keys.replies(name), {"other": "x"})
        store.xadd(keys.replies(name), {b"\xff": b"\xff"})
    job = Seal(b"x" * 32).close(JOB, b"")
    for fields in ({"x": "y"}, {"job": "x", "at": "soon"}, {"job": job, "at": b"\xff" * 99}):
        store.xadd(keys.JOBS, fields)  # type: ignore[arg-type]
    store.set(keys.BACKLOGGED, "many")
    for names in (keys.WORKERS, keys.APIS):
        store.zadd(names, {b"\xff\xfe": 2**40})
    totals: dict[bytes, bytes] = {b"\xff": b"x", b"vssm_request_seconds": b"1", b"vssm_requests": b"-" * 99}
    for total, amount in totals.items():
        store.hset(keys.TOTALS, total, amount)
    pids = {child.pid for child in serve.children()}
    try:
        time.sleep(1.5)  # heartbeats are read twice a second
        assert serve.client.get("/metrics").status_code == 200
        assert serve.client.get("/readyz").status_code == 200
    finally:
        store.delete(keys.BACKLOGGED)
        store.hdel(keys.TOTALS, *totals)
        for names in (keys.WORKERS, keys.APIS):
            store.zrem(names, b"\xff\xfe")
    assert serve.generate(model="pixels", length=3)["position"] == 3
    assert {child.pid for child in serve.children()} == pids


def test_heartbeats_that_are_made_up_bring_no_model(serve: Serve, store: redis.Redis) -> None:
    beat = next(store.scan_iter("vssm:worker:*"))
    assert isinstance(beat, bytes)
    genuine = store.get(beat)
    assert isinstance(genuine, bytes)
    store.zadd(keys.WORKERS, {"other": 2**40})
    store.set(keys.beat("other"), genuine, px=3000)  # another worker's
    until(lambda: "heartbeat of other cannot be read" in (serve.folder / "log").read_text())
    assert serve.client.get("/readyz").json()["workers"] == 1
    store.zrem(keys.WORKERS, "other")
