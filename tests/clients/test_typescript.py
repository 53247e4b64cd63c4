"""The TypeScript client: its own tests, its examples, what is published, and a real browser."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.clients.node import BUILT, DIST, FOLDER, NEEDED, npm
from tests.e2e.browser import CHROMIUM, MISSING, chromium
from tests.e2e.serving import Serve, until, values

pytestmark = pytest.mark.skipif(not BUILT, reason=NEEDED)


def test_its_own_tests(url: str) -> None:
    said = npm("test", VSSM_TEST_URL=url, NO_COLOR="1")
    assert "7 passed" in said  # files


ADDRESS = "http://127.0.0.1:8000"
EXAMPLES = [
    code
    for page in (FOLDER / "README.md", FOLDER.parents[1] / "README.md")
    for code in re.findall(r"^```ts\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def build() -> Iterator[Path]:
    """A folder within the package, so that its name means itself there."""
    folder = FOLDER / "build/readme"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def test_the_examples(tmp_path: Path, build: Path) -> None:
    """Of its README and the project's, compiled and run against a server with the shipped models."""
    assert len(EXAMPLES) >= 6
    server = Serve(tmp_path).start()
    for number, code in enumerate(EXAMPLES):
        assert ADDRESS in code
        (build / f"{number}.ts").write_text(code.replace(ADDRESS, str(server.client.base_url).rstrip("/")))
    npm("exec", "--", "tsc", "--project", "tsconfig.readme.json")
    commands = [["node", str(build / f"{number}.js")] for number in range(len(EXAMPLES))]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(each, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) for each in commands]
    for process in running:
        said, complaints = process.communicate()
        assert process.returncode == 0, complaints
        assert said
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert server.stop() == 0


def test_what_is_published() -> None:
    [package] = json.loads(npm("pack", "--dry-run", "--ignore-scripts", "--json"))
    paths = {Path(file["path"]) for file in package["files"]}
    assert {str(path.parent) for path in paths} == {".", "dist", "src"}
    assert {path.name for path in paths if path.parent == Path()} == {"LICENSE", "README.md", "package.json"}
    modules = {path.stem for path in paths if path.parent == Path("src")}
    for suffix in (".js", ".d.ts", ".js.map"):
        assert {path.name.removesuffix(suffix) for path in paths if path.name.endswith(suffix)} == modules


@pytest.fixture(scope="module")
def page(serve: Serve) -> Iterator[Page]:
    """The playground's origin and policy, with the files of the package below /client/."""

    def file(route: Route) -> None:
        route.fulfill(path=DIST / route.request.url.rpartition("/")[2], content_type="text/javascript")

    with chromium() as browser:
        page = browser.new_page()
        page.route("**/client/*.js", file)
        page.goto(str(serve.client.base_url))
        yield page


IN_PAGE = """async () => {
  const { at, Client, join, NotFoundError } = await import("/client/index.js");
  const client = new Client(location.origin);
  const start = { model: "image", num_samples: 3, seed: 2n ** 63n - 1n };
  const values = ({ outputs }) => outputs.map((output) => output.values);
  const whole = await client.generate(start);
  const session = client.session(start);
  const half = await session.resume({ length: 4 });
  const copy = await session.fork();
  const rest = await session.resume();
  const forked = await join(copy.stream());
  await copy.delete();
  const picture = await createImageBitmap((await client.png({ model: "image", num_samples: 4 })).blob());
  const upper = await client.array({ ...start, length: 4 });
  const array = await client.array({ model: "image", prefix: at(upper.values, 0) });
  for await (const event of client.stream({ model: "pixels", length: 100_000 })) break;
  return {
    whole: values(whole), seed: String(whole.seed), rest: values(rest), forked: values(forked),
    joined: values(half).map((rows, index) => [...rows, ...values(rest)[index]]),
    gone: await copy.info().catch((error) => error instanceof NotFoundError && error.type),
    picture: [picture.width > 16, picture.height > 16],
    array: [array.values.dtype, array.values.shape],
  };
}"""


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_in_a_browser(serve: Serve, page: Page) -> None:
    cancelled = serve.metric("vssm_requests_cancelled_total")
    found = page.evaluate(IN_PAGE)
    assert found["whole"] == values(serve.generate(model="image", num_samples=3, seed=2**63 - 1))
    assert found["seed"] == str(2**63 - 1)
    assert found["joined"] == found["whole"]
    assert found["forked"] == found["rest"]
    assert found["gone"] == "session_not_found"
    assert found["picture"] == [True, True]
    assert found["array"] == ["uint8", [1, 4, 8]]
    until(lambda: serve.metric("vssm_requests_cancelled_total") > cancelled)


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
def test_a_stream_that_breaks_in_a_browser_goes_on(serve: Serve, page: Page) -> None:
    keys = []

    def breaking(route: Route) -> None:
        """The first try is refused, the second cut."""
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.abort("connectionreset")
        elif len(keys) == 2:
            whole = serve.client.post("/generate", json=route.request.post_data_json).text
            route.fulfill(body=whole[: len(whole) // 2], content_type="text/event-stream")
        else:
            route.continue_()

    page.route("**/generate", breaking)
    request = {"model": "text", "length": 2000, "num_samples": 2, "seed": 4}
    code = """async (request) => {
      const { Client, join } = await import("/client/index.js");
      return (await join(new Client(location.origin).stream(request))).outputs;
    }"""
    outputs = page.evaluate(code, request)
    page.unroute("**/generate")
    assert outputs == serve.generate(**request)["outputs"]
    assert len(keys) == 3
    assert len(set(keys)) == 1
