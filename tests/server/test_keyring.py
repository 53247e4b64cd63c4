"""API keys: what is kept, what is let in, and a file that is never half there."""

import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner
from vssm_server import keyfile
from vssm_server.cli import app
from vssm_server.exposure import is_loopback, open_to_strangers
from vssm_server.keyring import Document, KeyRing, KeysError, make, read
from vssm_server.settings import Settings

NOW = datetime.now(UTC)


def test_a_key_is_found_by_its_whole_text_only() -> None:
    (alice, text), (bob, other) = make("alice", ("generate",), None), make("bob", ("admin",), None)
    ring = KeyRing(Document((alice, bob)))
    assert ring.find(text) is alice
    assert ring.find(other) is bob
    mixed = text[:18] + other[18:]  # the id of one and the secret of the other
    for wrong in (text[:-1], text + "A", text.upper(), mixed, "", "vssm_", "x" * 10**6, "\udcff" * 20):
        assert ring.find(wrong) is None


def test_only_hashes_are_kept() -> None:
    key, text = make("alice", ("generate",), None)
    secret = text.split("_", 2)[2]
    assert secret not in str(msgspec.json.encode(Document((key,))))
    assert len(secret) >= 43  # 256 bits
    assert make("alice", ("generate",), None)[1] != text


def test_a_key_ends() -> None:
    late, text = make("late", ("generate",), NOW - timedelta(seconds=1))
    early, other = make("early", ("generate",), NOW + timedelta(hours=1))
    ring = KeyRing(Document((late, early)))
    assert ring.find(text) is None
    assert ring.find(other) is early


def test_scopes() -> None:
    generate, admin = make("a", ("generate",), None)[0], make("b", ("admin",), None)[0]
    assert [generate.allows(scope) for scope in (None, "generate", "sessions", "metrics", "admin")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert all(admin.allows(scope) for scope in (None, "generate", "sessions", "metrics", "admin"))


GOOD = make("alice", ("generate",), None)[0]
ENTRY = msgspec.to_builtins(GOOD)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"null", b"\xff", b"[" * 10**5, {"keys": [ENTRY, ENTRY]}, {"keys": [{}]}, {"keys": [], "more": 1},
        *({"keys": [{**ENTRY, **wrong}]} for wrong in (
            {"name": "Alice Smith"}, {"name": "../x"}, {"id": "x"}, {"hash": "x"}, {"scopes": ["root"]},
            {"scopes": "admin"}, {"expires": "soon"}, {"expires": "2030-01-01T00:00:00"}, {"surplus": 1},
        )),
    ],
)  # fmt: skip
def test_a_document_that_is_not_one_is_refused(document: object) -> None:
    with pytest.raises(KeysError, match="these are no API keys"):
        read(document if isinstance(document, bytes) else msgspec.json.encode(document))


def test_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    run = CliRunner().invoke
    made = run(app, ["key", "create", "alice", "--file", str(path), "--expires-days", "1"])
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text not in path.read_text()
    ring = KeyRing(keyfile.load(path))
    key = ring.find(text)
    assert key is not None
    assert key.scopes == ("generate", "sessions")
    assert "already" in run(app, ["key", "create", "alice", "--file", str(path)]).stderr
    assert "no scope" in run(app, ["key", "create", "bob", "--file", str(path), "--scope", "root"]).stderr
    assert "a name must be" in run(app, ["key", "create", "A b", "--file", str(path)]).stderr
    run(app, ["key", "create", "prom"], env={"VSSM_API_KEYS_FILE": str(path)} | {"COLUMNS": "200"})
    listed = run(app, ["key", "list", "--file", str(path)]).stdout
    assert "alice" in listed
    assert "prom" in listed
    assert text not in listed
    os.chmod(path, 0o640)
    assert run(app, ["key", "revoke", "alice", "--file", str(path)]).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [key.name for key in keyfile.load(path).keys] == ["prom"]
    assert "there are: prom" in run(app, ["key", "revoke", "alice", "--file", str(path)]).stderr


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def add(number: int) -> None:
        key, _ = make(f"k{number}", ("generate",), None)
        keyfile.change(path, lambda document: Document((*document.keys, key)))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in keyfile.load(path).keys} == {f"k{number}" for number in range(16)}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST.", "a.localhost"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "", "127.0.0.1.nip.io"]
)
def test_names_of_others(host: str) -> None:
    assert not is_loopback(host)
    assert "no API keys" in (open_to_strangers(Settings(host=host)) or "")
    assert open_to_strangers(Settings(host=host, allow_anonymous=True)) is None
    assert open_to_strangers(Settings(host=host, api_keys_file=Path("keys.json"))) is None
