"""Whether a part that runs on this host does its work, asked from beside it; quick, for container health checks."""

import socket
import ssl
import urllib.error
import urllib.request

import redis

from vssm_server import keys
from vssm_server.connect import connect
from vssm_server.settings import Settings

PATIENCE_SECONDS = 3.0
_TRUSTING = ssl.create_default_context()
_TRUSTING.check_hostname, _TRUSTING.verify_mode = (
    False,
    ssl.CERT_NONE,
)  # it is this machine; the certificate names another
DIRECT = urllib.request.build_opener(  # a proxy of the environment is not for this
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_TRUSTING)
)


def of_api(settings: Settings) -> str | None:
    """What is wrong with the API here, or None: it must be ready, so Redis and a worker there too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    try:
        with DIRECT.open(f"{settings.scheme}://{host}:{settings.port}/readyz", timeout=PATIENCE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"not ready: {error.read().decode(errors='replace')[:500]}"
    except OSError as error:
        return f"the API does not answer: {error}"


def of_worker(redis_url: str) -> str | None:
    """What is wrong with the worker here, or None: its heart must beat in Redis, so it neither hangs nor is cut off."""
    with connect(redis_url) as client:
        try:
            names = [name.decode() for name in client.zrange(keys.WORKERS, 0, -1) if isinstance(name, bytes)]
            here = [name for name in names if name.rsplit("-", 2)[0] == socket.gethostname()]
            if here and client.exists(*map(keys.beat, here)):
                return None
        except redis.RedisError as error:
            return f"Redis does not answer: {error}"
    return f"no worker of the host {socket.gethostname()} has a heartbeat"
