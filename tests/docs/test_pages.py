"""Every code block of README and docs is run, against a server with the shipped models."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, PageError, blocks_of
from tests.docs.running import Page, same_shape
from tests.e2e.serving import Serve

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / name / "README.md" for name in ("server", "clients/python"))]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
RUN = [page for page in PAGES if any(block.deed in ("python", "bash", "fails") for block in blocks_of(page))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of the pages, in place of 127.0.0.1:8000."""
    server = Serve(tmp_path_factory.mktemp("pages")).start()
    yield str(server.client.base_url).removeprefix("http://")
    assert server.stop() == 0


@pytest.fixture
def environment(tmp_path: Path, address: str) -> dict[str, str]:
    """A folder like a checkout with its environment, whose `vssm` is the one that is tested."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "clients/python")))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VSSM_")}
    more = {"VSSM_STATE_DIR": str(tmp_path / "state"), "VSSM_THREADS": "1", "CURL_HOME": str(tmp_path)}
    more["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    return {**clean, "PYTHONPATH": paths, "COLUMNS": "120", "VSSM_URL": f"http://{address}", **more}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.timeout(900)  # on a busy machine; half a minute otherwise
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_blocks_of(path: Path, tmp_path: Path, environment: dict[str, str], address: str) -> None:
    page = Page(tmp_path, environment, {"127.0.0.1:8000": address, "9000": str(free_port())})
    try:
        for block in blocks_of(path):
            try:
                page.do(block)
            except Exception as error:
                raise AssertionError(f"{name_of(path)}:{block.line}: {error}\n{block.code}") from error
    finally:
        page.close()


def test_every_page_is_read_and_what_is_not_run_says_why() -> None:
    skipped = [block for page in PAGES for block in blocks_of(page) if block.deed == "skip"]
    assert len(RUN) >= 9
    assert all(len(block.more.split()) >= 2 for block in skipped), "a reason is needed"


def test_a_block_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```\nmake all\n```\n")
    with pytest.raises(PageError, match="neither run nor marked"):
        blocks_of(page)
    page.write_text("# Page\n\n<!-- not run: needs a moon -->\n\n```\nmake all\n```\n")
    assert blocks_of(page) == [Block("skip", "make all\n", 5, "needs a moon")]
    page.write_text("# Page\n\n<!-- not run: needs a moon -->\n\nWords.\n")
    with pytest.raises(PageError, match="without a block"):
        blocks_of(page)


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"id": "gen_..."}, {"id": "sess_1"}),
        ({"code": 404}, {"code": 409}),
    ],
)
def test_what_a_page_shows_is_compared(shown: object, real: object) -> None:
    with pytest.raises(AssertionError):
        same_shape(shown, real)
    same_shape(real, real)
