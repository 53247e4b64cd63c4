"""Files are only accepted with the right bytes, wherever they come from, and whatever is wrong is said."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vssm import data
from vssm.data import DataError, cifar10, ett, mnist, text
from vssm.data.files import DataFile, data_folder, fetch
from vssm.data.idx import read_idx


def archive_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


CONTENT = bytes(range(256)) * 40
STORED = gzip.compress(CONTENT)
ARCHIVE = archive_of({"folder/numbers": CONTENT, "folder/again": CONTENT})
MISSING = "http://127.0.0.1:9/nothing-listens-here"


def data_file(*sources: str) -> DataFile:
    return DataFile("numbers", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), sources)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


# -- idx ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (0, 2, 2)])
def test_idx_is_read(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(read_idx(idx(array)), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"PNG file", "not an idx file"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "not an idx file"),  # floats
        (bytes([0, 0, 8, 3, 0, 0]), "header alone takes 16"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "must have 18 bytes, but has 17"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", "must have 18 bytes, but has 19"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "must have"),
    ],
)
def test_damaged_idx_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(content)


def test_images_and_labels_must_belong_together() -> None:
    with pytest.raises(DataError, match="do not belong together"):
        mnist.read("test", [idx(np.zeros((3, 2, 2), np.uint8)), idx(np.zeros(4, np.uint8))])


# -- local files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stored"), [("numbers.gz", STORED), ("numbers", CONTENT)])
def test_local_copies_are_used(tmp_path: Path, name: str, stored: bytes) -> None:
    (tmp_path / name).write_bytes(stored)
    assert fetch(data_file(MISSING), tmp_path) == (tmp_path / name, CONTENT)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (STORED[:-20], "is truncated"),
        (STORED[:100] + b"\xff" * 20 + STORED[120:], "is corrupt"),
        (CONTENT[:-1], "is truncated: 10239 bytes, expected 10240"),
        (CONTENT + b"x", "is too long"),
        (b"x" + CONTENT[1:], "is corrupt: its sha256 is"),
        (gzip.compress(b"x" + CONTENT[1:]), "is corrupt: its sha256 is"),
        (b"", "is truncated"),
    ],
)
def test_damaged_local_copies_are_refused(tmp_path: Path, stored: bytes, message: str) -> None:
    path = tmp_path / "numbers.gz"
    path.write_bytes(stored)
    with pytest.raises(DataError, match=message) as caught:
        fetch(data_file(MISSING), tmp_path)
    assert str(path) in str(caught.value)
    assert "Delete it and run `vssm data`" in str(caught.value)


def test_folder_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VSSM_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("VSSM_DATA")
    assert data_folder().parts[-2:] == ("vssm", "data")


def test_data_set_is_read_from_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pixels, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([5, 9], np.uint8)
    files = []
    (tmp_path / "tiny").mkdir()
    for name, array in (("images", pixels), ("labels", labels)):
        content = idx(array)
        (tmp_path / "tiny" / f"{name}.gz").write_bytes(gzip.compress(content))
        files.append(DataFile(name, len(content), hashlib.sha256(content).hexdigest(), ()))
    tiny = data.Dataset("tiny", "none", "tiny", {"test": tuple(files)}, mnist.read)
    monkeypatch.setitem(data.DATASETS, "tiny", tiny)
    monkeypatch.setenv("VSSM_DATA", str(tmp_path))
    loaded = data.load_images("tiny", "test")
    np.testing.assert_array_equal(loaded.images, pixels)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert data.download("tiny") == [tmp_path / "tiny" / "images.gz", tmp_path / "tiny" / "labels.gz"]
    with pytest.raises(DataError, match="no split 'train': choose from test"):
        data.load("tiny", "train")


def test_unknown_data_set_is_named() -> None:
    with pytest.raises(DataError, match="unknown data set 'imagenet': known are cifar10, etth1"):
        data.load("imagenet", "train")


def test_a_data_set_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VSSM_DATA", str(tmp_path))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "numbers").write_bytes(CONTENT)
    words = data.Dataset(
        "words",
        "none",
        "words",
        {"test": (data_file(),)},
        lambda split, parts: data.Text(np.frombuffer(parts[0], np.uint8)),
    )
    monkeypatch.setitem(data.DATASETS, "words", words)
    assert data.load_text("words", "test").values.tobytes() == CONTENT
    with pytest.raises(DataError, match="words is a data set of text, not of images"):
        data.load_images("words", "test")


def test_series_are_read_without_their_dates() -> None:
    rows = "".join(f"2016-07-01 {k},{k},0.5\n" for k in range(14400))
    found = ett.read("test", [f"date,a,b\n{rows}".encode()])
    assert found.channels == ("a", "b")
    assert found.values[[0, -1]].tolist() == [[11520, 0.5], [14399, 0.5]]
    with pytest.raises(DataError, match="has 10 rows"):
        ett.read("test", [("date,a,b\n" + "x,1,2\n" * 10).encode()])


def test_text_is_split_in_its_order() -> None:
    parts = [text.read(split, [CONTENT]).values.tobytes() for split in ("train", "validation", "test")]
    assert b"".join(parts) == CONTENT
    assert [len(part) for part in parts] == [9216, 512, 512]


def test_colour_images_are_read_by_pixels() -> None:
    record = bytes([3]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([5]) * 1024
    found = cifar10.read("test", [record * 10_000])
    assert found.images.shape == (10_000, 32, 32, 3)
    assert found.images[9, 4, 4].tolist() == [1, 2, 5]
    assert found.labels[0] == 3
    with pytest.raises(DataError, match="10,000 records"):
        cifar10.read("test", [record])


# -- downloads ---------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {
            "/all.tar.gz": ARCHIVE,
            "/good": STORED,
            "/cut": STORED,
            "/half": STORED[:-30],
            "/wrong": gzip.compress(b"no"),
        }[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:50] if self.path == "/cut" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_missing_files_are_downloaded_once(tmp_path: Path, server: str) -> None:
    seen: list[tuple[str, int, int]] = []
    fetched = fetch(data_file(f"{server}/good"), tmp_path / "new", lambda *now: seen.append(now))
    assert fetched == (tmp_path / "new" / "numbers.gz", CONTENT)
    assert fetched.path.read_bytes() == STORED
    assert seen[-1] == ("numbers", len(STORED), len(STORED))
    assert fetch(data_file(MISSING), tmp_path / "new") == fetched


def test_files_come_out_of_an_archive_that_is_fetched_once(tmp_path: Path, server: str) -> None:
    def archived(name: str, source: str) -> DataFile:
        return DataFile(f"folder/{name}", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), (source,), archived=True)

    assert fetch(archived("numbers", f"{server}/all.tar.gz"), tmp_path).content == CONTENT
    again = fetch(archived("again", MISSING + "/all.tar.gz"), tmp_path)  # from the copy that is kept
    assert again == (tmp_path / "folder" / "again", CONTENT)
    with pytest.raises(DataError, match="is not a tar archive with folder/other"):
        fetch(archived("other", f"{server}/all.tar.gz"), tmp_path)
    with pytest.raises(DataError, match="is not a tar archive"):
        fetch(archived("other", f"{server}/good"), tmp_path)


@pytest.mark.parametrize("bad", ["/missing", "/cut", "/half", "/wrong"])
def test_the_next_source_is_tried(tmp_path: Path, server: str, bad: str) -> None:
    sources = (MISSING, f"{server}{bad}", f"{server}/good")
    assert fetch(data_file(*sources), tmp_path).content == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "HTTP status 404"),
        ("/cut", "peer closed connection"),
        ("/half", "what it sent is truncated"),
        ("/wrong", "what it sent is truncated: 2 bytes, expected 10240"),
    ],
)
def test_failed_downloads_leave_nothing_and_say_why(tmp_path: Path, server: str, path: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        fetch(data_file(MISSING, f"{server}{path}"), tmp_path)
    assert "ConnectError" in str(caught.value)
    assert "VSSM_DATA" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_named(tmp_path: Path, server: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot write .*numbers.gz.*Point VSSM_DATA"):
        fetch(data_file(f"{server}/good"), tmp_path / "file" / "folder")
