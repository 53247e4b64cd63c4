"""The queue when somebody else writes Redis, or it falls back: states and jobs that are not to be believed."""

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from vssm_server import keys
from vssm_server.messages import encode
from vssm_server.queue import Saved
from vssm_server.seal import JOB, Seal, reply_to
from vssm_server.versions import Versions

from tests.server.queues import REQUEST, SEAL, add, commit_of, end, load, new_session, opened

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


def test_a_job_of_another_owner_finds_no_session(client: redis.Redis) -> None:
    queue = new_session(client)
    add(client, owner="alice")
    [job] = queue.take(0, 1)
    assert load(queue, job) == "missing"
