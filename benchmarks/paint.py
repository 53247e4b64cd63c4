"""How soon a visitor of the playground sees something: a real Chromium, a real server, on this machine.

    python -m benchmarks.paint              prints JSON

first paint   until the browser has painted the page with its form: the first contentful paint, from the navigation on
form          until the page knows the models and shows the fields of the first
digits        until the 64 samples of the first visit are in the page, asked for, generated and drawn
layout shift  how far what was seen has jumped afterwards; below 0.1 is good (web.dev)

Milliseconds, medians and largest over visits in fresh profiles: nothing is cached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.machine import machine
from tests.e2e.browser import CHROMIUM, MISSING, SHIFTS, chromium, visit
from tests.e2e.serving import Serve

FIGURES = """() => ({
  first_paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  form: uncovered,
  digits: drawn,
  layout_shift: shifts.reduce((sum, shift) => sum + shift, 0),
})"""
WATCH = """
new MutationObserver(() => {
  if (document.querySelector("main:not(.waiting)")) globalThis.uncovered ??= performance.now();
  if (document.querySelectorAll("[role=option]").length === 64) globalThis.drawn ??= performance.now();
}).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
"""


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=20)
    visits = parser.parse_args().visits
    if CHROMIUM is None:
        sys.exit(f"not run: it {MISSING}")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Serve(Path(folder)).start()
        try:
            measured = [figures(browser, str(server.client.base_url).rstrip("/")) for _ in range(visits + 1)][1:]
        finally:
            server.stop()
    print(json.dumps({"visits": visits, **summary(measured), "machine": machine()}, indent=2))


def figures(browser: Browser, address: str) -> dict[str, float]:
    """Of one visit."""
    visitor = visit(browser, address)
    visitor.page.add_init_script(WATCH)
    visitor.page.add_init_script(path=SHIFTS)
    visitor.open()
    found: dict[str, float] = visitor.page.evaluate(FIGURES)
    visitor.page.context.close()
    return found


def summary(measured: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median and largest of each figure."""
    columns = {name: [visit[name] for visit in measured] for name in measured[0]}
    return {
        name: {"median": round(statistics.median(values), 3), "max": round(max(values), 3)}
        for name, values in columns.items()
    }


if __name__ == "__main__":
    main()
