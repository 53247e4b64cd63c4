"""Signatures: only with the key, only for their purpose; and the memory of versions."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vssm_server.seal import Seal, SealError, SigningKeyError, head_of, seal_of, version_of
from vssm_server.settings import Settings
from vssm_server.versions import WAYS, Versions, versions_of

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


SEE = """
import sys
from pathlib import Path
from vssm_server.versions import Versions

versions = Versions(Path(sys.argv[1]), most=1)
for version in range(int(sys.argv[2]), 4_000, 2):
    versions.see("a", version)
    versions.see(sys.argv[2], version)
"""


def test_a_file_is_shared_by_processes_and_outlives_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "versions"
    here = Versions(path, most=1)
    others = [subprocess.Popen([sys.executable, "-c", SEE, str(path), str(first)]) for first in (1, 2)]
    for version in range(1, 2_000):
        here.see("here", version)
    assert [other.wait(60) for other in others] == [0, 0]
    for versions in (here, Versions(path, most=1)):
        assert not versions.see("a", 3_998)
        assert not versions.see("1", 3_998)
        assert not versions.see("2", 3_997)
        assert not versions.see("here", 1_998)
        assert versions.see("a", 3_999)
        assert versions.see("other", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_died_keeps_nobody_waiting(tmp_path: Path) -> None:
    holds = "from pathlib import Path; import sys, os, signal; from vssm_server.versions import Versions\n"
    holds += "v = Versions(Path(sys.argv[1]), most=1)\nwith v._alone(0): os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", holds, str(tmp_path / "v")], timeout=60).returncode == -9
    assert Versions(tmp_path / "v", most=1).see("a", 1)


def test_without_a_folder_each_process_remembers_for_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "versions").write_bytes(b"something else")
    versions = versions_of(Settings(state_dir=tmp_path))
    assert [versions.see("a", 2), versions.see("a", 1)] == [True, False]
    assert "versions cannot be used (it has 14 bytes, not 6400000" in caplog.text
    assert (tmp_path / "versions").read_bytes() == b"something else"


def test_the_last_sessions_are_remembered_in_memory_that_does_not_grow() -> None:
    versions, ids = Versions(most=20_000), [f"sess_{number:032x}" for number in range(30_000)]
    before = psutil.Process().memory_info().rss
    for session in ids:
        versions.see(session, 2)
    assert psutil.Process().memory_info().rss - before < 2**20
    assert sum(versions.see(session, 1) for session in ids[-20_000:]) <= 3
