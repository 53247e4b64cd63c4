"""The pictures of the README: `python -m tests.e2e.screenshots http://127.0.0.1:8000` while `make serve` runs.

Writes docs/playground.png (desktop, light) and docs/playground-phone.png (phone, dark).
"""

import sys
from pathlib import Path

from tests.e2e.browser import DESKTOP, MISSING, PHONE, chromium, visit

DOCS = Path(__file__).parents[2] / "docs"


def main(address: str) -> None:
    """Both pictures, of the server at `address`."""
    with chromium() as browser:
        desk = visit(browser, address, DESKTOP).open("?model=mnist&seed=7&num_samples=64")
        desk.page.locator("[role=option]").nth(44).click()
        desk.after(lambda: desk.page.click("#complete"))
        desk.page.evaluate("document.activeElement.blur()")
        desk.page.screenshot(path=DOCS / "playground.png", full_page=True)
        phone = visit(browser, address, PHONE, dark=True).open(
            "?model=etth1&seed=3&num_samples=100&length=96&start=prefix"
        )
        phone.after(lambda: phone.page.click("#generate"))
        phone.page.wait_for_timeout(300)
        phone.page.screenshot(path=DOCS / "playground-phone.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m tests.e2e.screenshots ADDRESS; it {MISSING}")
    main(sys.argv[1].rstrip("/"))
