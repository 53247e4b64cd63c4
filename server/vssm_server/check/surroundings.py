"""Settings, port, Redis, workers, traces: what surrounds the models. Imports no torch."""

import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis

from vssm_server import keys, tracing, valkey
from vssm_server.check.finding import Finding, advise, good, wrong
from vssm_server.connect import connect
from vssm_server.exposure import open_to_strangers, who_is_served
from vssm_server.fleet import read_heartbeat
from vssm_server.health import DIRECT
from vssm_server.keyfile import ring_of
from vssm_server.keyring import KeysError
from vssm_server.seal import SealError, SigningKeyError, seal_of
from vssm_server.settings import Settings
from vssm_server.supervisor import listen

OLDEST_REDIS = 7
SLOW_MS = 5.0
SECONDS = 2.0
NEARLY_FULL = 0.9
SECRET = ("key", "secret", "password", "token")  # in the names of settings


def settings(chosen: Settings) -> Iterator[Finding]:
    """Which are not the default; passwords are not shown."""
    fields = type(chosen).model_fields
    own = {name: getattr(chosen, name) for name in fields if getattr(chosen, name) != fields[name].default}
    yield good("settings", ", ".join(_shown(name, value) for name, value in own.items()) or "all as by default")


def _shown(name: str, value: object) -> str:
    secret = any(word in name for word in SECRET)
    return f"{name}={'***' if secret else re.sub('://[^@/]*@', '://***@', str(value))}"


def callers(chosen: Settings) -> Iterator[Finding]:
    """Who is let in, and the key that signs what lies in Redis."""
    if (danger := open_to_strangers(chosen)) is not None:
        yield wrong("callers", danger.partition(". ")[0], danger.partition(". ")[2])
    else:
        yield from _keys(chosen)
    try:
        seal_of(chosen)
    except SigningKeyError as error:
        yield wrong("signing", str(error), "set VSSM_SIGNING_KEY, or VSSM_SIGNING_KEY_FILE to a file that can be made")


def _keys(chosen: Settings) -> Iterator[Finding]:
    try:
        ring_of(chosen)
    except KeysError as error:
        yield wrong("callers", str(error), "make keys with `vssm-server key create NAME`")
    else:
        yield good("callers", who_is_served(chosen))


def port(chosen: Settings) -> Iterator[Finding]:
    """Whether the API could listen, or does already."""
    where = f"{chosen.host}:{chosen.port}"
    try:
        listen(chosen.host, chosen.port).close()
    except OSError as error:
        if _answers(chosen):
            yield good("port", f"a VSSM server answers on {where}")
        else:
            advice = (
                "stop what listens there, or choose another with VSSM_PORT; VSSM_HOST must be an address of this host"
            )
            yield wrong("port", f"cannot listen on {where}: {error.strerror or error}", advice)
    else:
        yield good("port", f"{where} is free")


def _answers(chosen: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(chosen.host, chosen.host)
    try:
        with DIRECT.open(
            urllib.request.Request(f"{chosen.scheme}://{host}:{chosen.port}/livez"), timeout=SECONDS
        ) as response:
            return bool(response.read() == b'{"status":"alive"}')
    except OSError:
        return False


def store(chosen: Settings) -> Iterator[Finding]:
    """The Redis that is named, or what is needed to run one."""
    if chosen.redis_url is not None:
        yield from _redis(chosen.redis_url, chosen)
        return
    try:
        program = valkey.binary()
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        yield good("redis", f"embedded: {' '.join(said.split()[:3])}")
        folder = chosen.state_folder()
        path = valkey.socket_path(folder)
        if path.exists() and _alive(f"unix://{path}"):
            yield from _redis(f"unix://{path}", chosen)
        else:
            os.close(valkey.lock(folder))
            yield good("redis", f"sessions are kept in {folder}")
    except valkey.StateFolderError as error:
        yield wrong("redis", str(error), "see the message")
    except (OSError, subprocess.SubprocessError) as error:
        yield wrong("redis", f"the embedded Redis cannot be run: {error}", "set VSSM_REDIS_URL to a Redis of your own")


def _alive(url: str) -> bool:
    with connect(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _redis(url: str, chosen: Settings) -> Iterator[Finding]:
    with connect(url) as client:
        try:
            began = time.perf_counter()
            client.ping()
            ms = (time.perf_counter() - began) * 1e3
            about: dict[str, Any] = client.info()
            client.set(keys.PROBE, 1, px=1000)
            yield from _facts(about, ms)
            yield from _workers(client, chosen)
        except redis.exceptions.OutOfMemoryError:
            yield wrong("redis", "has no memory left", "raise maxmemory, or delete sessions")
        except redis.exceptions.AuthenticationError as error:
            yield wrong(
                "redis", f"refuses: {error}", "put the password into VSSM_REDIS_URL: redis://:PASSWORD@host:6379/0"
            )
        except (redis.RedisError, OSError) as error:
            advice = "start it, or correct VSSM_REDIS_URL; without that setting, `vssm-server serve` runs its own"
            yield wrong("redis", f"does not answer: {error}", advice)


def _facts(about: dict[str, Any], ms: float) -> Iterator[Finding]:
    name, version = about.get("server_name", "redis"), str(about.get("valkey_version", about.get("redis_version", "0")))
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        yield wrong(
            "redis", f"{name} {version}", f"take Redis {OLDEST_REDIS} or newer, or Valkey: its scripts need that"
        )
        return
    yield good("redis", f"{name} {version}, answers in {ms:.1f} ms")
    if about.get("cluster_enabled"):
        yield wrong("redis", "is a Redis Cluster", "use one instance with replicas: a commit spans several keys")
    if ms > SLOW_MS:
        yield advise("redis", f"an answer takes {ms:.0f} ms", "put Redis near: every request needs several answers")
    if about.get("maxmemory_policy") != "noeviction":
        advice = "set maxmemory-policy noeviction, or accepted requests and sessions may vanish"
        yield wrong("redis", f"evicts keys ({about.get('maxmemory_policy')}) when it is full", advice)
    if not about.get("aof_enabled"):
        yield advise(
            "redis", "keeps nothing over a restart", "set appendonly yes, or sessions are lost with its process"
        )
    limit = int(about.get("maxmemory", 0))
    if limit and int(about["used_memory"]) > NEARLY_FULL * limit:
        used = int(about["used_memory"]) / limit
        yield advise(
            "redis", f"{used:.0%} of its memory is taken", "raise maxmemory, or shorten VSSM_DEFAULT_TTL_SECONDS"
        )


def _workers(client: "redis.Redis", chosen: Settings) -> Iterator[Finding]:
    try:
        seal = seal_of(chosen)
    except SigningKeyError:
        return  # `signing` says it
    names = [name.decode() for name in client.zrange(keys.WORKERS, 0, -1) if isinstance(name, bytes)]
    beats = client.mget([keys.beat(name) for name in names]) if names else []
    workers = []
    for name, beat in zip(names, beats, strict=True):
        try:
            workers.append(read_heartbeat(name, beat, seal))
        except (msgspec.MsgspecError, SealError) as error:
            advice = "give every host the same VSSM_SIGNING_KEY, and the same version of this program"
            yield wrong("workers", f"what {name} says of itself cannot be read: {error}", advice)
    for worker in filter(None, workers):
        device = f" on {worker.device.model} ({worker.device.name})" if worker.device else ""
        yield good("workers", f"{worker.worker}{device} serves {', '.join(sorted(worker.models)) or 'nothing'}")
        for name, why in worker.failed.items():
            yield wrong("workers", f"{worker.worker} cannot use {name}: {why}", "correct or remove that checkpoint")
    if not any(workers):
        yield good("workers", "none runs yet")


def traces() -> Iterator[Finding]:
    """Whether there is somebody to take them, if they are wanted."""
    if not tracing.wanted():
        return
    endpoint = next(filter(None, (os.environ.get(name) for name in reversed(tracing.ENDPOINTS))))
    parts = urlsplit(endpoint)
    try:
        at = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        socket.create_connection(at, timeout=SECONDS).close()
    except (OSError, ValueError) as error:
        advice = f"start the collector, or correct {tracing.ENDPOINTS[0]}; the service works without it"
        yield advise("traces", f"nobody takes them at {endpoint}: {error}", advice)
    else:
        yield good("traces", f"go to {endpoint}")
