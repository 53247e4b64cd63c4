"""Signatures: only with the key, only for their purpose; and the memory of versions."""

import os
import stat
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vssm_server.seal import Seal, SealError, SigningKeyError, head_of, seal_of, version_of
from vssm_server.settings import Settings
from vssm_server.versions import WAYS, Versions

SEAL = Seal(b"a key")
SEALED = SEAL.close(head_of("sess_a", 3), b"payload")


def test_what_was_signed_is_given_back() -> None:
    assert SEAL.open(head_of("sess_a", 3), SEALED) == b"payload"


@given(place=st.integers(0, len(SEALED) - 1), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, flip: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= flip
    with pytest.raises(SealError):
        SEAL.open(head_of("sess_a", 3), bytes(changed))


@pytest.mark.parametrize(
    "purpose", ["job", "", head_of("sess_a", 4), head_of("sess_b", 3), head_of("sess_a", 3) + "\0payload"]
)
def test_another_purpose_is_noticed(purpose: str) -> None:
    with pytest.raises(SealError):
        SEAL.open(purpose, SEALED)


def test_another_key_is_noticed() -> None:
    with pytest.raises(SealError):
        Seal(b"another").open(head_of("sess_a", 3), SEALED)


@pytest.mark.parametrize("text", [None, b"", b"-1", b"1.5", b"x", b"9" * 16, "\u0663".encode()])
def test_what_is_no_version(text: bytes | None) -> None:
    with pytest.raises(SealError):
        version_of(text)


def test_the_key_is_made_once_by_whoever_is_first(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "new")
    seals: list[Seal] = []
    threads = [threading.Thread(target=lambda: seals.append(seal_of(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signed = seals[0].close("job", b"x")
    assert [seal.open("job", signed) for seal in seals] == [b"x"] * 8
    path = tmp_path / "new" / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["signing.key"]
    assert len(path.read_text().strip()) == 64


def test_a_key_that_is_too_short_or_unreadable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match="32 or more"):
        seal_of(Settings(signing_key="short"))
    (tmp_path / "key").mkdir()
    with pytest.raises(SigningKeyError, match="cannot be used"):
        seal_of(Settings(signing_key_file=tmp_path / "key"))


def test_versions_only_rise() -> None:
    versions = Versions()
    assert [versions.see("a", version) for version in (1, 3, 3, 2, 4)] == [True, True, True, False, True]
    versions.delete("b")
    assert not versions.see("b", 10**9)
    assert versions.see("c", 1)


def test_those_not_seen_for_longest_are_forgotten() -> None:
    versions = Versions(most=1)  # one row
    for session in range(WAYS):
        versions.see(f"{session}", 2)
    versions.see("0", 3)
    versions.see("new", 1)  # in the place of 1, not of 0
    assert not versions.see("0", 2)
    assert not versions.see("2", 1)
    assert versions.see("1", 1)


def test_the_last_sessions_are_remembered_in_memory_that_does_not_grow() -> None:
    versions, ids = Versions(20_000), [f"sess_{number:032x}" for number in range(30_000)]
    before = psutil.Process().memory_info().rss
    for session in ids:
        versions.see(session, 2)
    assert psutil.Process().memory_info().rss - before < 2**20
    assert sum(versions.see(session, 1) for session in ids[-20_000:]) <= 3
