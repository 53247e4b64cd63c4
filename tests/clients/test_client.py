"""What the Python clients give when all is well, against a real server."""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
from vssm_client import AsyncClient, Chunk, Client, Generation, Png, join

from tests.clients.proxy import Proxy
from tests.e2e.serving import Serve, until, values


def rows(generation: Generation | Chunk) -> list[object]:
    return [row for output in generation.outputs for row in output.values or []]


def test_generate_is_what_the_server_says(serve: Serve, url: str) -> None:
    with Client(url) as client:
        result = client.generate(model="image", num_samples=3, seed=7)
    told = serve.generate(model="image", num_samples=3, seed=7)
    assert [output.values for output in result.outputs] == values(told)
    assert (result.model, result.seed, result.position, result.session_id) == ("image", 7, 8, None)
    assert (result.fingerprint, result.usage.generated_steps) == (told["fingerprint"], 24)
    assert result.timings.total_ms > 0
    assert result.outputs[2].index == 2
    assert result.quantiles is None


def test_whole_numbers_are_ints_and_others_floats(url: str) -> None:
    with Client(url) as client:
        pixels = rows(client.generate(model="pixels", length=50))
        means = rows(client.generate(model="pixels", length=50, output="mean"))
        series = client.generate(model="series", length=2, num_samples=2, quantiles=[0.5])
    assert {type(value) for value in pixels} == {int}
    assert {type(value) for value in means} == {float}
    assert series.quantiles is not None
    assert {type(value) for row in rows(series) if isinstance(row, list) for value in row} == {float}
    assert np.shape(series.quantiles[0].values) == (2, 2)


def test_text_and_particles(url: str) -> None:
    with Client(url) as client:
        text = client.generate(model="text", prefix="h\u00e9", length=9, seed=1)
        several = [client.generate(model="series", prefix=[[0, 1]] * 9, seed=2, num_particles=n) for n in (1, 16)]
    assert text.usage.prefix_steps == 3
    assert text.outputs[0].text == text.array().astype(np.uint8).tobytes().decode(errors="replace")
    assert rows(several[0]) != rows(several[1])


@pytest.mark.parametrize("model", ["pixels", "text"])
def test_a_stream_gives_the_values_of_the_whole(url: str, model: str) -> None:
    with Client(url) as client:
        events = list(client.stream(model=model, num_samples=2, length=500, seed=3))
        whole = client.generate(model=model, num_samples=2, length=500, seed=3)
    assert len(events) > 3
    assert all(isinstance(event, Chunk) for event in events[:-1])
    assert isinstance(events[-1], Generation)
    assert events[-1].outputs[0].values is None
    assert join(events).outputs == whole.outputs


def test_quantiles_of_a_stream_are_joined(url: str) -> None:
    with Client(url) as client:
        events = list(client.stream(model="series", num_samples=9, length=400, seed=1, quantiles=[0.1, 0.9]))
        whole = client.generate(model="series", num_samples=9, length=400, seed=1, quantiles=[0.1, 0.9])
    assert len(events) > 2
    assert join(events).quantiles == whole.quantiles
    with pytest.raises(ValueError, match="whole stream"):
        join(events[:-1])


def test_leaving_a_stream_cancels_it(serve: Serve, url: str) -> None:
    before = serve.metric("vssm_requests_cancelled_total")
    with Client(url) as client, closing(client.stream(model="pixels", length=100_000)) as events:
        next(events)
    until(lambda: serve.metric("vssm_requests_cancelled_total") == before + 1)


def test_a_picture(url: str) -> None:
    with Client(url) as client:
        png = client.png(model="image", num_samples=4, seed=5)
        again = client.png(model="image", num_samples=4, seed=5)
    assert isinstance(png, Png)
    assert png.startswith(b"\x89PNG")
    assert png == again
    assert (png.seed, png.session_id) == (5, None)


def test_models(serve: Serve, url: str) -> None:
    with Client(url) as client:
        models = {model.name: model for model in client.models()}
        assert client.model("image") == models["image"]
    told = serve.client.get("/models/colour").json()
    assert {name: value for name, value in models["colour"].model_dump().items() if name in told} == told
    assert models["colour"].image is not None
    assert models["text"].observation is not None
    assert models["text"].observation.classes == 256
    assert models["truncated"].status == "failed"
    assert models["truncated"].error


async def test_the_async_client_is_the_same(url: str) -> None:
    async with AsyncClient(url) as client:
        whole = await client.generate(model="image", seed=7)
        events = [event async for event in client.stream(model="image", seed=7)]
        array = await client.array(model="image", seed=7)
        png = await client.png(model="image", seed=7)
        assert (await client.models())[0].name == "blind"
        assert (await client.model("image")).length == 8
    assert join(events).outputs == whole.outputs
    assert array.values.tolist() == [output.values for output in whole.outputs]
    with Client(url) as blocking:
        assert blocking.png(model="image", seed=7) == png


def test_one_connection_is_used_again(proxy: Callable[..., Proxy]) -> None:
    between = proxy()
    with Client(between.url) as client:
        for _ in range(3):
            client.generate(model="pixels", length=2)
            list(client.stream(model="pixels", length=200))
            client.models()
    assert between.connections == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:y"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Client(url)
    with pytest.raises(ValueError, match="base_url"):
        AsyncClient(url)


def test_an_id_never_leads_to_another_path() -> None:
    with Client() as client:
        for name in ("", ".", "..", "../models", "a/../b"):
            with pytest.raises(ValueError, match="session_id"):
                client.delete(name)
            with pytest.raises(ValueError, match="model"):
                client.model(name)
