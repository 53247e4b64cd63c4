"""The built site: strict, complete, and without anything that is loaded from elsewhere."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from vssm_server.settings import PREFIX, Settings

from tests.e2e.browser import CHROMIUM, MISSING, chromium

ROOT = Path(__file__).parents[2]
FOREIGN = re.compile(r"^(https?:)?//", re.IGNORECASE)
OF_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "clients/python")))
    environment = {**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """What a page makes a browser load from other hosts; links to them are no loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.foreign = OF_CSS.findall(text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            loads = name in ("src", "srcset", "poster", "data") or (name == "href" and tag in ("link", "image", "use"))
            if loads and FOREIGN.match(value or ""):
                self.foreign.append(value)


def test_the_scanner_sees_loads_and_no_links() -> None:
    loads = '<link href="https://fonts.x/a.css"><img src="//x/y.png"><style>a{b:url(https://x/f.woff)}</style>'
    assert len(Loads(loads).foreign) == 3
    assert not Loads('<a href="https://x/">x</a><img src="y.png"><style>a{b:url("data:image/svg")}</style>').foreign


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    assert {str(page): foreign for page in pages if (foreign := Loads(page.read_text()).foreign)} == {}
    sheets = sorted(site.rglob("*.css"))
    assert sheets
    assert [found for sheet in sheets for found in OF_CSS.findall(sheet.read_text())] == []


def test_the_reference_is_made_from_the_code(site: Path) -> None:
    settings = (site / "reference/settings.html").read_text()
    assert [name for name in Settings.model_fields if f"{PREFIX}{name.upper()}" not in settings] == []
    for page, words in {
        "http": ("POST /sessions/{session_id}/fork", "num_particles", "GenerateResponse"),
        "commands": ("vssm train", "vssm-server serve", "vssm-client generate", "--install-completion"),
        "recipes": ("kl_warmup_steps", "LogisticMixture"),
        "library": ("vssm.load", "linear_recurrence", "takes_prefix"),
        "client": ("AsyncClient", "SessionConflictError"),
    }.items():
        text = re.sub(r"<[^>]+>", "", (site / f"reference/{page}.html").read_text())
        assert [word for word in words if word not in text] == [], page


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_a_browser_asks_nobody_else_and_finds_words(address: str) -> None:
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("reference/http.html", "results.html", "index.html"):
            page.goto(f"{address}/{name}", wait_until="networkidle")
        page.keyboard.press("/")
        page.keyboard.type("fingerprint")
        page.wait_for_selector(".md-search-result__item")
        assert any("search_index" in url for url in asked)
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
