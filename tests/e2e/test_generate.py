"""What a client gets when all is well."""

import asyncio
import io
import re
import time

import httpx
import numpy as np
from PIL import Image

from tests.e2e.serving import Serve, streamed, values

ROWS = [[0, 1, 0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0, 0, 0]]


def test_json(serve: Serve) -> None:
    result = serve.generate(model="image", num_samples=3, seed=7)
    assert result["model"] == "image"
    assert result["seed"] == 7
    assert result["position"] == 8
    assert result["session_id"] is None
    assert np.shape(values(result)) == (3, 8, 8)
    assert [output["index"] for output in result["outputs"]] == [0, 1, 2]
    assert result["usage"] == {"prefix_steps": 0, "generated_steps": 24}
    assert set(result["timings"]) == {"queue_ms", "generate_ms", "total_ms"}


def test_a_seed_is_drawn_and_returned(serve: Serve) -> None:
    first, second = (serve.generate(model="image") for _ in range(2))
    assert first["seed"] != second["seed"]
    assert values(serve.generate(model="image", seed=first["seed"])) == values(first)


def test_flat_when_size_is_one(serve: Serve) -> None:
    assert np.shape(values(serve.generate(model="pixels", length=5, prefix=[0, 1, 1]))) == (1, 5)


def test_text(serve: Serve) -> None:
    result = serve.generate(model="text", prefix="h\u00e9", length=9, seed=1)
    assert result["usage"]["prefix_steps"] == 3
    [output] = result["outputs"]
    assert output["text"] == bytes(output["values"]).decode(errors="replace")
    events = serve.stream(model="text", prefix="h\u00e9", length=9, seed=1)
    assert streamed(events) == [output["values"]]


def test_npy(serve: Serve) -> None:
    body = {"model": "series", "num_samples": 2, "length": 5, "seed": 3}
    response = serve.client.post("/generate", json=body, headers={"Accept": "application/x-npy"})
    array = np.load(io.BytesIO(response.content))
    assert array.shape == (2, 5, 2)
    assert array.dtype == np.float32
    assert np.array_equal(array, np.array(values(serve.generate(**body)), np.float32))


def test_png_shows_prefix_and_completion(serve: Serve) -> None:
    body = {"model": "image", "prefix": ROWS, "num_samples": 3, "seed": 5}
    response = serve.client.post("/generate", json=body, headers={"Accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    pixels = np.asarray(Image.open(io.BytesIO(response.content)))
    assert pixels.shape == (2 + 2 * 10, 2 + 2 * 10)
    first = pixels[2:10, 2:10] // 255
    assert first[:2].tolist() == ROWS
    assert first[2:].tolist() == values(serve.generate(**body))[0]


def test_png_in_colour_is_the_levels(serve: Serve) -> None:
    prefix = [[0, 128, 255] * 4]
    body = {"model": "colour", "prefix": prefix, "seed": 5}
    response = serve.client.post("/generate", json=body, headers={"Accept": "image/png"})
    pixels = np.asarray(Image.open(io.BytesIO(response.content)))[2:-2, 2:-2]
    rest = values(serve.generate(**body))[0]
    assert pixels.tolist() == np.reshape(prefix + rest, (4, 4, 3)).tolist()


def test_stream(serve: Serve) -> None:
    body = {"model": "image", "num_samples": 2, "seed": 7}
    events = serve.stream(**body)
    assert [data["position"] for name, data in events if name == "chunk"] == list(range(1, 9))
    assert "values" not in events[-1][1]["outputs"][0]
    assert streamed(events) == values(serve.generate(**body))


def test_mean_and_temperature(serve: Serve) -> None:
    mean = values(serve.generate(model="pixels", length=50, seed=1, output="mean"))[0]
    assert 0 < min(mean) <= max(mean) < 1
    likely = values(serve.generate(model="pixels", length=50, seed=1, temperature=0))[0]
    assert likely == [int(p > 0.5) for p in mean]


def test_sessions(serve: Serve) -> None:
    half = serve.generate(model="image", length=4, num_samples=2, seed=9, save=True, ttl_seconds=100)
    name = half["session_id"]
    assert re.fullmatch("sess_[0-9a-f]{32}", name)
    session = serve.client.get(f"/sessions/{name}").json()
    assert (session["position"], session["num_samples"], session["seed"], session["model"]) == (4, 2, 9, "image")
    fork = serve.client.post(f"/sessions/{name}/fork")
    assert fork.status_code == 201
    rest = serve.generate(session_id=name)
    assert rest["position"] == 8
    assert values(serve.generate(session_id=fork.json()["id"])) == values(rest)
    whole = serve.generate(model="image", num_samples=2, seed=9)
    assert [a + b for a, b in zip(values(half), values(rest), strict=True)] == values(whole)
    assert serve.client.delete(f"/sessions/{name}").status_code == 204
    assert serve.client.get(f"/sessions/{name}").status_code == 404


def test_a_session_observes_more(serve: Serve) -> None:
    body = {"model": "pixels", "seed": 2}
    session = serve.generate(**body, prefix=[0, 1, 1], length=0, save=True)["session_id"]
    resumed = serve.generate(session_id=session, prefix=[1, 0], length=6)
    assert resumed["position"] == 11
    assert values(resumed) == values(serve.generate(**body, prefix=[0, 1, 1, 1, 0], length=6))


def test_particles(serve: Serve) -> None:
    body = {"model": "series", "seed": 2, "prefix": [[0, 1], [1, -1]] * 5, "num_samples": 4, "length": 40}
    alone, several = serve.generate(**body), serve.generate(**body, num_particles=16)
    assert values(several) == values(serve.generate(**body, num_particles=16))
    assert values(alone) == values(serve.generate(**body, num_particles=1))
    assert values(alone) != values(several)


def test_a_prefix_that_is_read_whole_comes_first(serve: Serve) -> None:
    body = {"model": "whole", "seed": 2, "prefix": [0, 1, 1], "num_particles": 3}
    half = serve.generate(**body, length=5, save=True)
    rest = serve.generate(session_id=half["session_id"], length=8)
    assert values(serve.generate(**body))[0] == values(half)[0] + values(rest)[0]
    refused = serve.client.post("/generate", json={"session_id": half["session_id"], "prefix": [1]})
    assert refused.status_code == 422
    assert "the session is at position 16" in refused.json()["error"]["message"]


def test_models(serve: Serve) -> None:
    models = {model["name"]: model for model in serve.client.get("/models").json()["models"]}
    assert models["image"]["image"] == {"height": 8, "width": 8, "channels": 1}
    assert serve.client.get("/models/image").json() == models["image"]
    for name in ("truncated", "shapes", "version"):
        assert models[name]["status"] == "failed"
        assert models[name]["error"]


def test_metrics(serve: Serve) -> None:
    before = serve.metric("vssm_request_seconds_count")
    serve.generate(model="pixels", length=5)
    assert serve.metric("vssm_request_seconds_count") == before + 1
    text = serve.client.get("/metrics").text
    for name in ("requests_running", "requests_waiting", "batch_rows_bucket", "generated_steps_total", "workers"):
        assert f"vssm_{name}" in text


def test_documentation_needs_no_network(serve: Serve) -> None:
    page = serve.client.get("/docs")
    assert page.status_code == 200
    assert not re.findall("https?://", page.text)
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert serve.client.get(link).status_code == 200, link


def test_openapi_describes_it(serve: Serve) -> None:
    document = serve.client.get("/openapi.json").json()
    assert set(document["paths"]) >= {"/generate", "/sessions/{session_id}", "/models", "/readyz"}
    operation = document["paths"]["/generate"]["post"]
    assert set(operation["responses"]) >= {"200", "404", "409", "413", "415", "422", "429", "503", "504"}
    for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
        model = "series" if "quantiles" in example["value"] else "image"
        body = {**example["value"], "model": model, "prefix": None}
        expected = 404 if name == "resume" else 200
        assert serve.client.post("/generate", json=body).status_code == expected, name


def test_many_at_once_run_in_few_passes(serve: Serve) -> None:
    async def many() -> list[int]:
        async with httpx.AsyncClient(base_url=serve.client.base_url, timeout=60) as client:
            body = {"model": "pixels", "length": 1000}
            answers = await asyncio.gather(*(client.post("/generate", json=body) for _ in range(40)))
            return [answer.status_code for answer in answers]

    time.sleep(1.2)  # a heartbeat, so that passes of other tests are counted
    before = serve.metric("vssm_batch_rows_count")
    assert asyncio.run(many()) == [200] * 40
    time.sleep(1.2)
    assert serve.metric("vssm_batch_rows_count") - before < 40 * 4 / 2  # alone each needs four
