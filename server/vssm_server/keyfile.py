"""The file of API keys: changed by the command line, watched by the API. Never half written, readable for its owner."""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vssm_server.keyring import Document, KeyRing, KeysError, read
from vssm_server.settings import Settings

LOOK_SECONDS = 1.0
MAX_BYTES = 16 << 20

log = logging.getLogger(__name__)


def load(path: Path) -> Document:
    """The keys in a file. Raises KeysError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}; `vssm-server key create NAME` makes it") from None
    if len(data) > MAX_BYTES:
        raise KeysError(f"{path} has more than {MAX_BYTES} bytes")
    try:
        return read(data)
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None


def change(path: Path, edit: Callable[[Document], Document]) -> None:
    """Replaces the file by an edited one, at once and for readers whole; one at a time. Raises KeysError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.with_name(path.name + ".lock")):
            _write(path, edit(load(path) if path.exists() else Document()))
    except OSError as error:
        raise KeysError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, document: Document) -> None:
    """Keeps owner and rights of a file that is there, so that the user of a container can still read it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        if path.exists():
            before = path.stat()
            os.fchmod(file.fileno(), before.st_mode & 0o777)
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        file.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def ring_of(settings: Settings) -> KeyRing | None:
    """The keys of the settings; None when there are to be none. Raises KeysError."""
    if settings.api_keys_file is not None and settings.api_keys is not None:
        raise KeysError("VSSM_API_KEYS_FILE and VSSM_API_KEYS are both set; choose one")
    if settings.api_keys_file is not None:
        return KeyRing(load(settings.api_keys_file.expanduser()))
    return None if settings.api_keys is None else KeyRing(read(settings.api_keys))


async def watch(path: Path, ring: KeyRing) -> None:
    """Runs for ever: a file that changes is read again. While it cannot be read, the keys stay as they were."""
    seen = None
    while True:
        if (now := _mark(path)) != seen:
            seen = now
            try:
                ring.replace(load(path))
            except KeysError as error:
                log.error("the API keys stay as they were: %s", error)
        await asyncio.sleep(LOOK_SECONDS)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
