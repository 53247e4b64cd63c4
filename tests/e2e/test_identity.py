"""One request has one answer: whole, in parts, streamed, in company, and across the death of any process."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.e2e.serving import Serve, joined, streamed, until, values

Body = dict[str, Any]


def whole(serve: Serve, body: Body) -> list[Any]:
    return values(serve.generate(**body))


def parts(serve: Serve, body: Body, cuts: list[int], between: Callable[[], None] = lambda: None) -> list[Any]:
    """The same steps by resuming: `cuts` are the lengths of the parts."""
    result = serve.generate(**{**body, "length": cuts[0], "save": True})
    collected = [values(result)]
    for length in cuts[1:]:
        between()
        more = {"session_id": result["session_id"], "length": length, "temperature": body.get("temperature", 1.0)}
        collected.append(values(until(partial(accepted, serve, more))))
    assert serve.client.delete(f"/sessions/{result['session_id']}").status_code == 204
    return joined(collected)


def accepted(serve: Serve, body: Body) -> Body | None:
    """The result; None while the service says that it is not there."""
    response = serve.client.post("/generate", json=body)
    assert response.status_code in (200, 503), response.text
    result: Body = response.json()
    return result if response.status_code == 200 else None


def random_cuts(rng: random.Random, length: int) -> list[int]:
    points = sorted(rng.sample(range(1, length), rng.randint(1, 4)))
    return [b - a for a, b in zip([0, *points], [*points, length], strict=True)]


def test_whole_parts_stream_and_company_agree(serve: Serve) -> None:
    rng = random.Random(5)
    bodies: list[Body] = [
        {
            "model": "pixels",
            "num_samples": rng.randint(1, 4),
            "length": rng.randint(2000, 12_000),
            "seed": rng.getrandbits(62),
        }
        for _ in range(8)
    ]
    bodies += [{"model": "series", "num_samples": 3, "length": 700, "seed": 1, "temperature": 0.5}]
    bodies += [{"model": "image", "num_samples": 2, "length": 40, "seed": 2, "prefix": [[1] * 8] * 3}]
    references = [whole(serve, body) for body in bodies]
    compared = 0
    with ThreadPoolExecutor(len(bodies) * 2) as pool:  # all at once: each is a stranger to the others
        resumed = [pool.submit(parts, serve, body, random_cuts(rng, body["length"])) for body in bodies]
        events = [pool.submit(serve.stream, **body) for body in bodies]
        for body, reference, one, other in zip(bodies, references, resumed, events, strict=True):
            assert one.result() == reference
            assert streamed(other.result()) == reference
            compared += 2 * body["length"] * body["num_samples"]
    assert compared > 200_000


def test_across_the_death_of_everything(start: Callable[..., Serve]) -> None:
    serve = start()
    body: Body = {"model": "pixels", "num_samples": 2, "length": 6000, "seed": 11}
    reference = whole(serve, body)

    def kill_worker() -> None:
        serve.child("worker").kill()

    def kill_redis() -> None:
        serve.child("valkey-server").kill()

    def kill_all() -> None:
        serve.kill()
        serve.start()

    for death in (kill_worker, kill_redis, kill_all):
        assert parts(serve, body, [1500, 2500, 2000], death) == reference
    assert serve.stop() == 0


def test_a_request_in_the_hands_of_a_dying_worker_is_answered_once(start: Callable[..., Serve]) -> None:
    serve = start(max_length=100_000, workers=2)
    body: Body = {"model": "pixels", "length": 30_000, "seed": 3}
    with ThreadPoolExecutor(2) as pool:
        answer, events = pool.submit(whole, serve, body), pool.submit(serve.stream, **body)
        until(lambda: serve.metric("vssm_generated_steps_total") > 5000)
        workers = [child for child in serve.children() if "worker" in child.cmdline()]
        for worker in workers:
            worker.kill()
        assert streamed(events.result()) == answer.result()
    assert [len(row) for row in answer.result()] == [30_000]
