"""`vssm-server key`: makes, lists and revokes API keys in a file that running servers read again within a second."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from vssm_server import keyfile
from vssm_server.keyring import SCOPES, Document, Key, KeysError, Scope, check_name, make
from vssm_server.quotas import Quotas

HELP = """API keys: make, list and revoke them; running servers notice by themselves.

Examples:

  vssm-server key create alice --file keys.json --scope generate --expires-days 90

  vssm-server key list --file keys.json

  vssm-server key revoke alice --file keys.json
"""
app = typer.Typer(no_args_is_help=True, help=HELP)
out = Console(highlight=False, soft_wrap=True)
messages = Console(stderr=True, highlight=False, soft_wrap=True)

Name = Annotated[str, typer.Argument(help="Whose key it is; its sessions belong to this name.")]
File = Annotated[
    Path, typer.Option("--file", envvar="VSSM_API_KEYS_FILE", help="The file of keys.", show_default=False)
]
Quota = Annotated[int | None, typer.Option(help="0 is no limit; by default VSSM_KEY_...", min=0, show_default=False)]


@app.command()
def create(
    name: Name,
    file: File,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it may do: {', '.join(SCOPES)} (all); repeatable. By default generate and sessions."),
    ] = None,
    expires_days: Annotated[float | None, typer.Option(help="When it ends; never by default.", min=0.0)] = None,
    requests_per_minute: Quota = None,
    steps_per_minute: Quota = None,
    concurrent_requests: Quota = None,
    open_streams: Quota = None,
    stored_sessions: Quota = None,
    stored_bytes: Quota = None,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    Example:

      vssm-server key create alice --file keys.json --scope generate --expires-days 90
    """
    now = datetime.now(UTC).replace(microsecond=0)
    expires = None if expires_days is None else now + timedelta(days=expires_days)
    try:
        quotas = Quotas(
            requests_per_minute=requests_per_minute,
            steps_per_minute=steps_per_minute,
            concurrent_requests=concurrent_requests,
            open_streams=open_streams,
            stored_sessions=stored_sessions,
            stored_bytes=stored_bytes,
        )
        key, text = make(check_name(name), _scopes(scope or ["generate", "sessions"]), expires, quotas)
        keyfile.change(file.expanduser(), lambda document: _with(document, key))
    except (KeysError, OverflowError) as error:
        _stop(str(error))
    print(text)
    messages.print(f"{name}: this key is shown only now; {file} keeps its hash.", markup=False)


@app.command("list")
def list_keys(file: File) -> None:
    """Show the names, scopes and ends of all keys."""
    table = Table("name", "id", "scopes", "created", "expires", box=None)
    for key in _load(file).keys:
        ended = " (expired)" if key.expired(datetime.now(UTC).timestamp()) else ""
        table.add_row(key.name, key.id, ", ".join(key.scopes), _shown(key.created), _shown(key.expires) + ended)
    out.print(table)


@app.command()
def revoke(name: Name, file: File) -> None:
    """Take a key back: running servers refuse it within a second. Its sessions stay until they expire."""
    try:
        keyfile.change(file.expanduser(), lambda document: _without(document, name))
    except KeysError as error:
        _stop(str(error))
    messages.print(f"{name}: revoked.", markup=False)


def _with(document: Document, key: Key) -> Document:
    if any(other.name == key.name for other in document.keys):
        raise KeysError(f"there is a key named {key.name!r} already; revoke it first: its sessions stay with the name")
    return Document((*document.keys, key))


def _without(document: Document, name: str) -> Document:
    kept = tuple(key for key in document.keys if key.name != name)
    if len(kept) == len(document.keys):
        known = ", ".join(key.name for key in document.keys) or "none"
        raise KeysError(f"there is no key named {name!r}; there are: {known}")
    return Document(kept)


def _scopes(words: list[str]) -> tuple[Scope, ...]:
    if unknown := [word for word in words if word not in SCOPES]:
        raise KeysError(f"there is no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in words)


def _load(file: Path) -> Document:
    try:
        return keyfile.load(file.expanduser())
    except KeysError as error:
        _stop(str(error))


def _shown(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _stop(message: str) -> NoReturn:
    messages.print(f"error: {message}.", markup=False)
    raise typer.Exit(2)
