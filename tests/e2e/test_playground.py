"""The playground in a real browser, with the shipped models."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ViewportSize
from vssm_server.api import playground as playground_of_the_api
from vssm_server.keyring import Document, make

from tests.e2e.browser import CHROMIUM, DESKTOP, MISSING, PHONE, SHIFTS, Playground, chromium, visit
from tests.e2e.serving import Serve, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
HALF = "?model=mnist&seed=7&num_samples=4&length=14&save=true&start=nothing"
WHOLE = HALF.replace("length=14&save=true&", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    running = Serve(tmp_path_factory.mktemp("playground")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def address(server: Serve) -> str:
    return str(server.client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def playground(address: str) -> Iterator[Playground]:
    with chromium() as browser:
        yield visit(browser, address)


@pytest.fixture(autouse=True)
def clean(playground: Playground) -> Iterator[None]:
    """No test may leave an error in the console or ask another host for anything."""
    yield
    errors, playground.errors = playground.errors, []
    assert (errors, playground.foreign) == ([], [])


def test_first_visit_shows_64_digits_at_once(playground: Playground, address: str) -> None:
    """One request, and one change of the page from no picture to all."""
    browser = playground.page.context.browser
    assert browser
    visitor = visit(browser, address)
    visitor.page.add_init_script(path=Path(__file__).parent / "counting.js")
    visitor.open()
    assert len(set(visitor.pixels())) > 60
    assert visitor.page.evaluate("counts") == [0, 64]
    assert len(visitor.bodies) == 1
    assert visitor.fact("position") == "28 of 28"
    assert visitor.fact("state") == f"{64 * 3264:,} bytes"
    assert float(visitor.fact("generate").removesuffix(" ms")) > 0
    assert visitor.page.inner_text("#status").startswith("64 samples")
    assert (visitor.errors, visitor.foreign) == ([], [])
    visitor.page.context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("query", ["", "?model=shakespeare&seed=3", "?model=etth1&seed=3"])
def test_nothing_jumps_when_the_first_result_comes(
    playground: Playground, address: str, query: str, size: ViewportSize
) -> None:
    browser = playground.page.context.browser
    assert browser
    visitor = visit(browser, address, size)
    visitor.page.add_init_script(path=SHIFTS)
    visitor.open(query)
    visitor.page.wait_for_timeout(100)
    assert visitor.page.evaluate("shifts.reduce((sum, shift) => sum + shift, 0)") < 0.02
    visitor.page.context.close()


def test_a_page_that_comes_before_the_models_waits_for_them(playground: Playground, server: Serve) -> None:
    worker = server.child("worker")
    worker.suspend()
    try:
        until(lambda: not server.ready())
        page = playground.page
        page.goto(f"{playground.address}/?model=mnist&seed=7&num_samples=4")
        page.wait_for_selector("#status:has-text('This page goes on by itself')")
        assert page.get_by_role("alert").inner_text() == ""
    finally:
        worker.resume()
    page.wait_for_selector("[data-fact=position]")
    assert all("503" in error for error in playground.errors)  # Chromium itself tells the console of the status
    playground.errors.clear()


def test_same_seed_same_pictures(playground: Playground) -> None:
    first = playground.open("?model=mnist&seed=7&num_samples=9").pixels()
    playground.generate()
    assert playground.pixels() == first
    playground.page.check("#new-seed")
    playground.generate()
    assert playground.pixels() != first
    assert playground.fact("seed-used") != "7"


def test_drawing_is_completed_after_the_stroke(playground: Playground) -> None:
    page = playground.open("?model=mnist&seed=3&num_samples=12").page
    playground.after(lambda: page.check("[name=start][value=prefix]", force=True))
    playground.after(lambda: page.get_by_role("button", name="Clear").click())
    box = page.locator("#drawing").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.2, steps=5)
    playground.after(page.mouse.up)
    prefix = json.loads(playground.bodies[-1])["prefix"]
    assert len(prefix) == 14
    assert sum(prefix[5]) > 10
    assert sum(map(sum, prefix[10:])) == 0
    assert page.inner_text("#title") == "12 completions"
    assert len(set(playground.pixels())) > 6
    drawn = playground.pixels()
    assert visit_again(playground).pixels() == drawn


def test_drawing_by_keys(playground: Playground) -> None:
    page = playground.open("?model=mnist&seed=3&num_samples=2").page
    playground.after(lambda: page.check("[name=start][value=prefix]", force=True))
    playground.after(lambda: page.get_by_role("button", name="Clear").click())
    page.focus("#drawing")
    page.keyboard.press("ArrowUp")
    playground.after(lambda: page.keyboard.press("Space"))
    assert sum(map(sum, json.loads(playground.bodies[-1])["prefix"])) == 1
    assert "ink" in page.inner_text("[aria-live=polite].unseen")


def test_fewer_passes_of_a_model_in_exact_mode(playground: Playground) -> None:
    page = playground.open("?model=mnist-exact&seed=7&num_samples=2").page
    exact = playground.pixels()
    assert playground.fact("passes") == "28"
    page.click("#more summary")
    page.get_by_label("Passes at most").fill("4")
    playground.generate()
    assert json.loads(playground.bodies[-1])["max_passes"] == 4
    assert playground.fact("passes") == "4, approximate"
    assert playground.pixels() != exact
    assert visit_again(playground).fact("passes") == "4, approximate"
    playground.open("?model=mnist&seed=7&num_samples=2")
    assert not page.get_by_label("Passes at most").is_visible()
    assert "max_passes" not in json.loads(playground.bodies[-1])


@pytest.mark.parametrize("model", ["mnist", "cifar10"])
def test_completing_a_sample(playground: Playground, address: str, model: str) -> None:
    page = playground.open(f"?model={model}&seed=5&num_samples=3").page
    page.locator("[role=option]").nth(1).click()
    playground.after(lambda: page.click("#complete"))
    assert page.inner_text("#title") == "3 completions"
    chosen = page.request.post(f"{address}/generate", data={"model": model, "seed": 5, "num_samples": 3}).json()
    prefix = json.loads(playground.bodies[-1])["prefix"]
    assert prefix == chosen["outputs"][1]["values"][: len(prefix)]
    assert len(prefix) in (14, 16)  # half of it
    completed = playground.pixels()
    assert len(set(completed)) == 3
    assert visit_again(playground).pixels() == completed


def visit_again(playground: Playground) -> Playground:
    """The link, opened anew."""
    query = playground.page.evaluate("location.search")
    playground.page.goto("about:blank")
    return playground.open(query)


def test_resume_equals_whole(playground: Playground) -> None:
    whole = playground.open(WHOLE).pixels()
    page = playground.open(HALF).page
    assert playground.fact("position") == "14 of 28"
    told = page.inner_text("[data-fact=bytes]").removesuffix(" bytes").replace(",", "")
    assert 4 * 3264 <= int(told) < 4 * 3264 + 1024  # with its header and checksum
    assert playground.pixels() != whole
    playground.after(lambda: page.click("[data-action=continue]"))
    assert playground.pixels() == whole
    page.get_by_text("Complete.", exact=True).wait_for()


def test_fork_goes_its_own_way(playground: Playground) -> None:
    whole = playground.open(WHOLE).pixels()
    page = playground.open(HALF).page
    page.click("[data-action=fork]")
    fork = page.get_by_role("article", name="Session 1, fork 1")
    page.fill("#temperature", "2")
    playground.after(lambda: fork.locator("[data-action=continue]").click())
    hot = playground.pixels()
    page.fill("#temperature", "1")
    original = page.get_by_role("article", name="Session 1", exact=True)
    playground.after(lambda: original.locator("[data-action=continue]").click())
    assert whole == playground.pixels() != hot
    fork.locator("[data-action=show]").click()
    assert playground.pixels() == hot
    page.fill("#seed", str(2**63))
    page.click("#generate")
    page.get_by_role("alert").get_by_text("The seed must be a whole number from 0 to 2^63 - 1.").wait_for()
    assert fork.get_by_text("shown").count() == 1  # what is shown is still the fork
    fork.locator("[data-action=forget]").click()
    fork.wait_for(state="detached")


def test_text_streams_and_goes_on(playground: Playground) -> None:
    page = playground.open(
        "?model=shakespeare&seed=3&num_samples=2&length=256&start=prefix&prompt=ROMEO%3A&save=true"
    ).page
    assert len(playground.texts()) == 2
    assert all(text.startswith("ROMEO:") for text in playground.texts())
    assert page.locator("article:first-child .chunk").count() > 2
    assert playground.fact("first")
    page.wait_for_selector("[data-action=continue]")
    before = playground.texts()
    playground.after(lambda: page.click("[data-action=continue]"))
    assert all(len(new) > len(old) + 200 for new, old in zip(playground.texts(), before, strict=True))


def test_series_is_plotted_with_bands(playground: Playground) -> None:
    page = playground.open("?model=etth1&seed=3&num_samples=50&length=24&start=prefix").page
    assert page.locator("svg[role=img]").count() == 7
    assert page.locator(".chart .outer").count() == 7
    history = "\n".join(" ".join(str(step + channel) for channel in range(7)) for step in range(30))
    page.fill("#history", history)
    playground.generate()
    body = json.loads(playground.bodies[-1])
    assert body["prefix"][29] == [29, 30, 31, 32, 33, 34, 35]
    assert "quantiles" in body
    drawn = page.locator(".chart .median").first.get_attribute("d")
    assert visit_again(playground).page.locator(".chart .median").first.get_attribute("d") == drawn


def test_error_of_the_server_is_shown_in_words(playground: Playground) -> None:
    page = playground.open("?model=mnist&seed=7&num_samples=2").page
    page.fill("#num_samples", "99999")
    page.click("#generate")
    alert = page.get_by_role("alert")
    alert.get_by_text("num_samples must be from 1 to 1024, not 99999.").wait_for()
    assert page.get_attribute("#num_samples", "aria-invalid") == "true"
    assert all("422" in error for error in playground.errors)  # Chromium itself tells the console of the status
    playground.errors.clear()
    page.fill("#num_samples", "3")
    playground.generate()
    assert alert.inner_text() == ""


def test_error_of_the_form_is_shown_in_words(playground: Playground) -> None:
    page = playground.open("?model=etth1&seed=3&num_samples=2&length=24&start=prefix").page
    page.fill("#history", "1 2 3")
    page.click("#generate")
    page.get_by_role("alert").get_by_text("Line 1 of the history has 3 numbers; the model has 7.").wait_for()


def test_link_restores_the_form(playground: Playground) -> None:
    query = "?model=mnist&seed=9223372036854775807&num_samples=3&length=20&temperature=0.5&num_particles=2&save=true"
    page = playground.open(query).page
    told = {
        "seed": "9223372036854775807",
        "num_samples": "3",
        "length": "20",
        "temperature": "0.5",
        "num_particles": "2",
    }
    assert {name: page.input_value(f"#{name}") for name in told} == told
    assert page.is_checked("#save")
    assert '"seed":9223372036854775807' in playground.bodies[-1]


@pytest.mark.parametrize("model", ["mnist", "cifar10", "shakespeare", "etth1"])
def test_phone_does_not_scroll_sideways(playground: Playground, address: str, model: str) -> None:
    browser = playground.page.context.browser
    assert browser
    phone = visit(browser, address, PHONE, dark=True).open(f"?model={model}&seed=7&start=prefix&save=true")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert (phone.errors, phone.foreign) == ([], [])
    phone.page.context.close()


@pytest.mark.parametrize("model", ["mnist", "shakespeare", "etth1"])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(playground: Playground, address: str, model: str, dark: bool) -> None:
    browser = playground.page.context.browser
    assert browser
    visitor = visit(browser, address, dark=dark).open(f"?model={model}&seed=7&num_samples=4&save=true&length=14")
    visitor.page.wait_for_selector("[data-action=fork]")
    found = Axe().run(visitor.page).response["violations"]
    visitor.page.context.close()
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_every_module_is_asked_for_at_once(playground: Playground, address: str) -> None:
    """Not one after another, as each is read; the page is useful that much sooner."""
    page = playground.page.request.get(address).text()
    modules = {path.name for path in (Path(playground_of_the_api.__file__).parent / "static").glob("*.js")}
    assert set(re.findall(r'(?:modulepreload" href|module" src)="playground/(.+?)"', page)) == modules


def test_policy_allows_nothing_from_elsewhere(playground: Playground, address: str) -> None:
    for path in ("/", "/playground/main.js"):
        response = playground.page.request.get(address + path)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
    assert playground.page.request.get(address + "/playground/nothing.js").status == 404


def test_a_server_with_keys_is_asked_with_one(playground: Playground, tmp_path: Path) -> None:
    """The page opens without; it asks for a key, again if that is wrong, and keeps it for this tab only."""
    key, text = make("alice", ("generate", "sessions"), None)
    server = Serve(tmp_path, api_keys=msgspec.json.encode(Document((key,))).decode()).start()
    browser = playground.page.context.browser
    assert browser is not None
    visitor = visit(browser, str(server.client.base_url).rstrip("/"))
    page = visitor.page
    page.goto(visitor.address)
    page.wait_for_selector("#key-dialog[open]")
    assert "An API key is needed" in page.inner_text("#key-why")
    page.fill("#key", "vssm_wrong")
    page.press("#key", "Enter")
    page.wait_for_selector("#key-why:has-text('not known')")
    page.fill("#key", text)
    page.click("#key-form [type=submit]")
    page.wait_for_selector("[data-fact=position]")
    page.reload()
    page.wait_for_selector("[data-fact=position]")
    assert not page.is_visible("#key-dialog")
    assert text not in page.url
    assert page.evaluate("localStorage.length") == 0
    assert [error for error in visitor.errors if "401" not in error] == []
    page.context.close()
    assert server.stop() == 0
