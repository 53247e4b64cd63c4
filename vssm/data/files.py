"""One file with a known checksum: found locally, or downloaded into place from the first source that works.

A file lies under its own name or gzipped with `.gz` behind it; a source may be a tar archive that has it inside. It
appears under its final name only after its checksum was found right, so an interrupted download leaves nothing that
could be mistaken for data.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import platformdirs

from vssm.data.errors import DataError

Report = Callable[[str, int, int], None]  # (file name, bytes so far, bytes in all; 0 when unknown)

_TIMEOUT_SECONDS = 20.0
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class DataFile:
    """A file: its name, its size in bytes and sha256 (both uncompressed), and addresses of copies, gzipped or not.

    `archived` files lie under their name in the tar archives that the addresses name.
    """

    name: str
    size: int
    sha256: str
    sources: tuple[str, ...]
    archived: bool = False


class Fetched(NamedTuple):
    """Where a verified file lies, and its uncompressed content."""

    path: Path
    content: bytes


def data_folder() -> Path:
    """Return the folder of all data sets: `VSSM_DATA`, by default the user's cache folder + `vssm/data`."""
    chosen = os.environ.get("VSSM_DATA")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("vssm")) / "data"


def fetch(file: DataFile, folder: Path, report: Report | None = None) -> Fetched:
    """Return a verified file from `folder`, downloading it where it is missing.

    Raises: DataError when the local copy is damaged or no source delivers the right bytes.
    """
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.exists():
            return _read_local(file, path)
    return _download(file, folder, report)


def _read_local(file: DataFile, path: Path) -> Fetched:
    try:
        return Fetched(path, _verified(file, path.read_bytes()))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{path} {error}. Delete it and run `vssm data` to download it again") from error


def _verified(file: DataFile, stored: bytes) -> bytes:
    """Return the uncompressed content of a stored copy. Raises: DataError beginning with "is ..."."""
    content = _uncompressed(stored)
    if len(content) != file.size:
        kind = "truncated" if len(content) < file.size else "too long"
        raise DataError(f"is {kind}: {len(content)} bytes, expected {file.size}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"is corrupt: its sha256 is {found}, expected {file.sha256}")
    return content


def _uncompressed(stored: bytes) -> bytes:
    if not stored.startswith(_GZIP):
        return stored
    try:
        return gzip.decompress(stored)
    except EOFError as error:
        raise DataError(f"is truncated: the gzip stream ends early after {len(stored)} bytes") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"is corrupt: {error}") from error


def _download(file: DataFile, folder: Path, report: Report | None) -> Fetched:
    failures = []
    for url in file.sources:
        try:
            stored = _member(file, url, folder, report) if file.archived else _read_url(url, file.name, report)
            content = stored if file.archived else _verified(file, stored)
        except httpx.HTTPError as error:
            failures.append(f"{url}: {_reason(error)}")
        except DataError as error:
            failures.append(f"{url}: what it sent {error}")
        else:
            suffix = ".gz" if stored.startswith(_GZIP) else ""
            return Fetched(_store(folder / f"{file.name}{suffix}", stored), content)
    tried = "".join(f"\n  {failure}" for failure in failures)
    raise DataError(
        f"cannot download {file.name}:{tried}\nCheck the network, or put a copy at {folder / file.name}.gz, "
        f"or point VSSM_DATA at a folder that has {folder.name}/{file.name}.gz"
    )


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP status {error.response.status_code}"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _read_url(url: str, name: str, report: Report | None) -> bytes:
    parts = []
    plain = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=plain, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as response:
        response.raise_for_status()
        total = int(response.headers.get("content-length", 0))
        for part in response.iter_raw():
            parts.append(part)
            if report is not None:
                report(name, response.num_bytes_downloaded, total)
    return b"".join(parts)


def _member(file: DataFile, url: str, folder: Path, report: Report | None) -> bytes:
    """A file inside an archive, which is kept, since other files come from it too."""
    archive = folder / url.rsplit("/", 1)[-1]
    if not archive.exists():
        _store(archive, _read_url(url, archive.name, report))
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(file.name)
            content = member.read() if member else b""
        return _verified(file, content)
    except (KeyError, tarfile.TarError, EOFError, zlib.error) as error:
        archive.unlink()  # so that the next try fetches it anew
        raise DataError(f"is not a tar archive with {file.name}: {error}") from error
    except DataError:
        archive.unlink()
        raise


def _store(path: Path, stored: bytes) -> Path:
    """Write a verified file under its final name in one step."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
            temporary = Path(out.name)
            out.write(stored)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {path}: {error.strerror or error}. "
            "Point VSSM_DATA at a folder with space that you may write to"
        ) from error
    return path
