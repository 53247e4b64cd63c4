"""One request, one session, and what an API and a worker do with them on a real Valkey."""

import msgspec
import redis
from vssm_server import keys
from vssm_server.connect import entries, script
from vssm_server.messages import Done, Request, SessionHead, decode_reply, encode
from vssm_server.queue import Commit, End, Job, Queue, Saved, digest_of
from vssm_server.seal import JOB, Seal, reply_to

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
