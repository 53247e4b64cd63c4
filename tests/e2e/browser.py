"""A real Chromium, the playground in it, and what a person does there."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "needs Chromium (on Debian and Ubuntu: apt-get install chromium)"
SHIFTS = Path(__file__).parent / "shifts.js"
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)


class Playground:
    """One page, and what went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.bodies: list[str] = []
        page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._saw(request.url, request.post_data))

    def _saw(self, url: str, body: str | None) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(url)
        if url.endswith("/generate"):
            self.bodies.append(body or "")

    def open(self, query: str = "") -> "Playground":
        """Loads the page and waits for its first result."""
        self.page.goto(f"{self.address}/{query}")
        self.page.wait_for_selector("[data-fact=position]")
        return self

    def after(self, action: Callable[[], Any]) -> None:
        """Does it, and waits until the request that follows from it is answered and shown."""
        self.page.evaluate("document.getElementById('facts').replaceChildren()")
        action()
        self.page.wait_for_selector("[data-fact=position]")
        self.page.wait_for_selector("#results[aria-busy=false]")

    def generate(self) -> None:
        """The button."""
        self.after(lambda: self.page.click("#generate"))

    def fact(self, name: str) -> str:
        """What the page says: position, state, seed-used and so on."""
        return self.page.inner_text(f"[data-fact={name}]")

    def pixels(self) -> list[str]:
        """Each picture of the grid."""
        found: list[str] = self.page.eval_on_selector_all(
            "[role=option] canvas", "all => all.map(one => one.toDataURL())"
        )
        return found

    def texts(self) -> list[str]:
        """Each text."""
        return self.page.locator(".text").all_inner_texts()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; the sandbox of Chromium does not work for root."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def visit(browser: Browser, address: str, size: ViewportSize = DESKTOP, dark: bool = False) -> Playground:
    """A page of a visitor of its own."""
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    return Playground(context.new_page(), address)
