"""docker-compose.yml as its users run it, asked from outside; in this order, on one set of containers."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pytest
from vssm_server import keys

from tests.compose.stack import SERVICES, Stack
from tests.e2e.serving import joined, streamed, until, values

Harm = Callable[[Stack, str], None]


def restart(stack: Stack, service: str) -> None:
    """SIGTERM, drain, start."""
    stack.compose("restart", service)


def kill(stack: Stack, service: str) -> None:
    """SIGKILL by the operator, who starts it again."""
    stack.compose("kill", "--signal", "SIGKILL", service)
    stack.up()


def crash(stack: Stack, service: str) -> None:
    """SIGKILL by somebody else; the restart policy starts it again."""
    for container in stack.containers(service):
        stack.crash(container)


def check_resume(stack: Stack, harm: Callable[[], None]) -> None:
    """Two halves with harm between them are one whole; new requests are answered; all get well by themselves."""
    whole = values(stack.generate(model="mnist", num_samples=2, seed=11))
    half = stack.generate(model="mnist", num_samples=2, seed=11, length=14, save=True)
    harm()
    rest = stack.generate(session_id=half["session_id"])
    assert rest["position"] == 28
    assert joined([values(half), values(rest)]) == whole
    assert values(stack.generate(model="mnist", num_samples=2, seed=11)) == whole
    stack.up()


def log_lines(stack: Stack, service: str) -> Iterator[dict[str, Any]]:
    """Every line must be a JSON object, but for HAProxy's last words."""
    for line in stack.compose("logs", "--no-log-prefix", "--no-color", service).replace("\x1b[2K", "").splitlines():
        if line.startswith("Proxy http stopped"):
            continue
        record = json.loads(line)
        assert isinstance(record, dict), line
        yield record


def test_generate(stack: Stack) -> None:
    result = stack.generate(model="mnist", num_samples=3, seed=7)
    assert np.shape(values(result)) == (3, 28, 28)
    assert result["seed"] == 7
    assert values(stack.generate(model="mnist", num_samples=3, seed=7)) == values(result)


def test_prefix(stack: Stack) -> None:
    [top] = values(stack.generate(model="mnist", seed=1, length=14))
    result = stack.generate(model="mnist", prefix=top, num_samples=2, length=14, seed=2)
    assert np.shape(values(result)) == (2, 14, 28)
    assert result["usage"]["prefix_steps"] == 14


def test_stream(stack: Stack) -> None:
    body = {"model": "mnist", "num_samples": 2, "seed": 5}
    assert streamed(stack.stream(**body)) == values(stack.generate(**body))


def test_resume(stack: Stack) -> None:
    check_resume(stack, lambda: None)


def test_a_mounted_checkpoint(stack: Stack) -> None:
    assert {"mnist", "text"} <= {model["name"] for model in stack.client.get("/models").json()["models"]}
    result = stack.generate(model="text", prefix="to be", length=20, seed=1)
    assert len(values(result)[0]) == 20
    assert isinstance(result["outputs"][0]["text"], str)


def test_only_workers_have_torch(stack: Stack) -> None:
    look = (
        "import importlib.util as u; print(*(name for name in ('torch', 'vssm', 'opentelemetry') if u.find_spec(name)))"
    )
    for service, found in (("api", ["opentelemetry"]), ("worker", ["torch", "vssm", "opentelemetry"])):
        [container] = stack.containers(service)
        assert stack.docker("exec", container, "python3", "-c", look).split() == found


def test_containers_can_do_little(stack: Stack) -> None:
    for service in SERVICES:
        [container] = stack.containers(service)
        limits = stack.inspect(container)["HostConfig"]
        assert limits["ReadonlyRootfs"], service
        assert limits["CapDrop"] == ["ALL"], service
        assert limits["Memory"] > 0, service
        assert limits["NanoCpus"] > 0, service
        users = [line.split()[1] for line in stack.docker("top", container, "-o", "pid,uid").splitlines()[1:]]
        assert users, service
        assert "0" not in users, service
        assert stack.docker("exec", container, "sh", "-c", "touch /file || echo refused").strip() == "refused"


def test_only_one_port_is_published(stack: Stack) -> None:
    for service in SERVICES:
        [container] = stack.containers(service)
        published = list(filter(None, stack.inspect(container)["NetworkSettings"]["Ports"].values()))
        assert len(published) == (service == "gateway"), service
        assert {binding["HostIp"] for binding in chain.from_iterable(published)} <= {"127.0.0.1"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("harm", [restart, kill, crash])
def test_harm_to_one(stack: Stack, harm: Harm, service: str) -> None:
    check_resume(stack, lambda: harm(stack, service))


def test_logs_are_json_lines(stack: Stack) -> None:
    """After all that harm every service has something to say."""
    for service in ("gateway", "api", "worker"):
        assert list(log_lines(stack, service)), service


def restart_all(stack: Stack) -> None:
    """SIGTERM, drain, start, each in its own time."""
    stack.compose("restart")


def kill_all(stack: Stack) -> None:
    """A host that fails and comes back."""
    stack.compose("kill", "--signal", "SIGKILL")
    stack.up()


def replace_all(stack: Stack) -> None:
    """New containers on the old volume."""
    stack.compose("down")
    stack.up()


@pytest.mark.parametrize("harm", [restart_all, kill_all, replace_all])
def test_harm_to_all(stack: Stack, harm: Callable[[Stack], None]) -> None:
    check_resume(stack, lambda: harm(stack))


def test_an_older_state_is_refused_by_new_containers(stack: Stack) -> None:
    """No process and no client remembers the newer one; the volume of the signing key does."""
    session = stack.generate(model="mnist", seed=3, length=7, save=True)["session_id"]
    saved, older = keys.session(session), "older"
    redis = ("exec", "-T", "redis", "redis-cli")
    assert stack.compose(*redis, "COPY", saved, older).strip() == "1"
    assert stack.generate(session_id=session, length=7)["session_version"] == 2
    assert stack.compose(*redis, "RENAME", older, saved).strip() == "OK"
    stack.up("--force-recreate", "api", "worker")
    answer = stack.client.post("/generate", json={"session_id": session, "length": 7})
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "state_untrusted")


def test_many_of_each(stack: Stack) -> None:
    """Three workers and two APIs behind one address; a worker that dies under load takes no request with it."""
    stack.up("--scale", "worker=3", "--scale", "api=2")
    until(lambda: stack.workers() == 3)
    bodies = [{"model": "mnist", "num_samples": 4, "seed": seed, "length": 1 + seed % 28} for seed in range(40)]
    expected = [values(stack.generate(**body)) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(stack.generate, **body) for body in bodies * 5]
        stack.crash(stack.containers("worker")[1])
        assert [values(answer.result()) for answer in answers] == expected * 5
    until(lambda: stack.workers() == 3)
    used = {line["server"] for line in log_lines(stack, "gateway") if line["path"] == "/generate"}
    assert len(used) > 1
    check_resume(stack, lambda: None)


def test_stop_drains(stack: Stack) -> None:
    stack.compose("stop")
    for service in SERVICES:
        codes = {stack.inspect(container)["State"]["ExitCode"] for container in stack.containers(service)}
        assert codes == {0}, stack.compose("logs", "--tail=20", "--timestamps", service)
