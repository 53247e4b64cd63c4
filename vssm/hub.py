"""Checkpoints on the Hugging Face hub: `owner/name` or `owner/name@revision`, downloaded and uploaded.

Networks, tokens (`hf auth login`, HF_TOKEN), the endpoint (HF_ENDPOINT), HF_HUB_OFFLINE and the cache are
huggingface_hub's own, which is imported only when an id is used. A repository is a stranger's: three files are taken,
their sizes are asked for before a byte is downloaded, and config.json is checked before the weights.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vssm.checkpoint import CARD, CONFIG, WEIGHTS, CheckpointError, check, locate, read_config, shipped_models

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

LIMIT_BYTES = {CONFIG: 2**20, CARD: 2**24, WEIGHTS: 2**32}
SHIPPED_LICENSE = "mit"  # the checkpoints come under the licence of the package
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_ID = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/+-]*))?")
_SIGN_IN = "run `hf auth login` or set HF_TOKEN"


@dataclass(frozen=True)
class HubId:
    """A repository of models on the hub; `revision` is a branch, a tag or a commit, None the main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def parse(text: str) -> HubId:
    """Read `owner/name` or `owner/name@revision`; raises CheckpointError on anything else.

    Stricter than huggingface_hub, which would take `..` in a revision into a path of its cache.
    """
    found = _ID.fullmatch(text)
    if found is None or len(found["repository"]) > 96 or len(text) > 300 or _forbidden(**found.groupdict()):
        raise CheckpointError(
            f"{text[:300]!r} is no hub id: it must be owner/name or owner/name@revision, of letters, digits, '-', '_' "
            "and '.', the first 96 characters at most, without '--' or '..'"
        )
    return HubId(found["repository"], found["revision"])


def _forbidden(repository: str, revision: str | None) -> bool:
    twice = "--" in repository or ".." in f"{repository} {revision}"
    return twice or repository.endswith(".git") or (revision or "").endswith(("/", ".lock"))


def as_hub_id(source: str | Path) -> HubId | None:
    """The hub id that `source` is, or None: shipped names, and what is there by that path, come first."""
    if not isinstance(source, str) or source in shipped_models() or Path(source).expanduser().exists():
        return None
    try:
        return parse(source)
    except CheckpointError:
        return None


def fetch(hub_id: HubId) -> Path:
    """The folder of the checkpoint in huggingface_hub's cache, downloaded if need be.

    A commit that is in the cache is not downloaded again, and without a network the newest cached one is used.
    Raises CheckpointError when there is no such repository, access, network, checkpoint, or it is too large.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    repository = hub_id.repository
    with _explained(hub_id):
        # From here on one commit: what is checked is what is downloaded, whatever its owner pushes meanwhile.
        revision = HfApi(library_name="vssm").resolve_revision(repository, revision=hub_id.revision)
        cached = _cached(hub_id, revision.resolved)
        if cached is None:
            _check_sizes(hub_id, revision.resolved)
            folder = snapshot_download(repository, revision=revision, allow_patterns=[CONFIG, CARD])
            read_config(Path(folder))
            hf_hub_download(repository, WEIGHTS, revision=revision)
            cached = Path(folder)
    return cached


def _cached(hub_id: HubId, commit: str) -> Path | None:
    """The folder of a commit in the cache. The weights, which come last, are there only when the rest is."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(hub_id.repository, name, revision=commit) for name in (CONFIG, WEIGHTS)]
    folders = {Path(path).parent for path in found if isinstance(path, str)}
    return folders.pop() if len(folders) == 1 and all(isinstance(path, str) for path in found) else None


def _check_sizes(hub_id: HubId, commit: str) -> None:
    """Ask the hub for the sizes (bytes); raises CheckpointError if a file is missing or above its limit."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    infos = HfApi(library_name="vssm").get_paths_info(hub_id.repository, list(LIMIT_BYTES), revision=commit)
    sizes = {info.path: info.size for info in infos if isinstance(info, RepoFile)}
    for name in (CONFIG, WEIGHTS):
        if name not in sizes:
            raise CheckpointError(f"{hub_id} on the hub is not a VSSM checkpoint: it has no {name}")
    for name, size in sizes.items():
        if size > LIMIT_BYTES[name]:
            raise CheckpointError(
                f"{hub_id} on the hub: {name} has {size:,} bytes, at most {LIMIT_BYTES[name]:,} are downloaded"
            )


def copy(folder: Path, out: Path) -> Path:
    """Copy a checkpoint out of the cache into `out`, made if need be, as files of its own; returns `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in LIMIT_BYTES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    return out


def push(source: str | Path, hub_id: HubId, *, private: bool = False, message: str = "", license: str = "") -> str:
    """Upload the checkpoint `source` (name, folder or id) in one commit; returns the address of the repository.

    The checkpoint is loaded first, strictly; the repository is made if it is missing (`private` applies only then).
    The card gets the hub's front matter; `license` is an identifier of the hub as in "mit", "" leaves the card's own.
    Raises CheckpointError when the checkpoint, the network or the right to write is wanting.
    """
    from vssm.card import hub_card

    if hub_id.revision is not None:
        raise CheckpointError(f"{hub_id}: a checkpoint is pushed to the main branch, leave @{hub_id.revision} out")
    folder = locate(source)
    config = check(folder)
    title = " ".join(config.description.split()) or "VSSM checkpoint"
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else f"# {title}\n"
    if str(source) in shipped_models():
        license = license or SHIPPED_LICENSE
    files: dict[str, Path | bytes] = {
        CONFIG: folder / CONFIG,
        WEIGHTS: folder / WEIGHTS,
        CARD: hub_card(card, config, hub_id.repository, license).encode(),
    }

    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="vssm")
    with _explained(hub_id, pushing=True):
        url = api.create_repo(hub_id.repository, private=private or None, exist_ok=True)
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        api.create_commit(hub_id.repository, additions, commit_message=message or f"Upload {title}"[:200])
    return str(url)


@contextmanager
def _explained(hub_id: HubId, *, pushing: bool = False) -> Iterator[None]:
    """Raise huggingface_hub's errors as CheckpointError that says what to do."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    away = (errors.OfflineModeIsEnabled, errors.RevisionResolutionError, errors.LocalEntryNotFoundError, HTTPError)
    try:
        yield
    except CheckpointError:
        raise
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{hub_id.repository} on the hub has no revision {hub_id.revision or 'main'!r}") from None
    except errors.HfHubHTTPError as error:
        raise CheckpointError(_refusal(hub_id, error, pushing)) from None
    except away as error:
        raise CheckpointError(_unreachable(hub_id, error, pushing)) from None
    except (RuntimeError, ValueError) as error:  # of an upload: a broken transfer, a card that the hub does not take
        raise CheckpointError(f"{hub_id} on {_endpoint()}: {error} {error.__cause__ or ''}".rstrip()) from None


def _unreachable(hub_id: HubId, error: Exception, pushing: bool) -> str:
    from huggingface_hub import is_offline_mode

    reason = "HF_HUB_OFFLINE is set" if is_offline_mode() else f"{_endpoint()} cannot be reached"
    consequence = "nothing was pushed" if pushing else "it is no shipped model, no folder, and not in the hub's cache"
    return f"{hub_id}: {reason} ({type(error.__cause__ or error).__name__}), and {consequence}"


def _refusal(hub_id: HubId, error: HfHubHTTPError, pushing: bool) -> str:
    """What it means that the hub answered with an error. It says 401 for whatever a stranger must not see."""
    from huggingface_hub.errors import GatedRepoError

    status = error.response.status_code
    if pushing and status in (401, 403, 404):
        return f"{_endpoint()} does not let you write {hub_id}: check the name, and {_SIGN_IN}, a token that may write"
    if isinstance(error, GatedRepoError) or status == 403:
        return f"no access to {hub_id} on {_endpoint()}: ask for it on its page there, and {_SIGN_IN}"
    if status in (401, 404):
        return (
            f"there is no shipped model and no folder {str(hub_id)!r}, and on {_endpoint()} no such repository that "
            f"you may see: check the name; if it is private, {_SIGN_IN}"
        )
    return f"{_endpoint()} answered {status} about {hub_id}: {error.server_message or str(error).splitlines()[0]}"


def _endpoint() -> str:
    from huggingface_hub.constants import ENDPOINT

    return str(ENDPOINT)
