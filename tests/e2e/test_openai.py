"""The /v1 routes as the real `openai` package sees them: whole, streamed, asynchronous, and refused."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai.types import Completion
from PIL import Image

from tests.e2e.serving import Serve, until, values

LONG: dict[str, Any] = {"model": "text", "max_tokens": 100_000}


@pytest.fixture
def client(serve: Serve) -> Iterator[openai.OpenAI]:
    """Nothing but base_url and api_key."""
    with openai.OpenAI(base_url=f"{serve.client.base_url}/v1", api_key="any") as client:
        yield client


def texts(serve: Serve, **body: object) -> list[str]:
    """Of POST /generate."""
    return [output["text"] for output in serve.generate(model="text", **body)["outputs"]]


def joined(chunks: list[Completion]) -> list[str]:
    """Texts of a stream, by the index of their choice."""
    said: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] = said.get(choice.index, "") + choice.text
    return [said[index] for index in sorted(said)]


def test_models(serve: Serve, client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"text", "image", "pixels"} <= set(listed)
    assert "truncated" not in listed
    assert client.models.retrieve("text") == listed["text"]
    assert (listed["text"].object, listed["text"].owned_by) == ("model", "vssm")


def test_completions_are_those_of_generate(serve: Serve, client: openai.OpenAI) -> None:
    answer = client.completions.create(model="text", prompt="hé", max_tokens=40, n=3, seed=7, temperature=0.8)
    same = {"prefix": "hé", "length": 40, "num_samples": 3, "seed": 7, "temperature": 0.8}
    assert [choice.text for choice in answer.choices] == texts(serve, **same)
    assert [(choice.index, choice.finish_reason) for choice in answer.choices] == [(i, "length") for i in range(3)]
    assert (answer.object, answer.model) == ("text_completion", "text")
    assert answer.system_fingerprint == serve.generate(model="text", **same)["fingerprint"]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 120, 123)


def test_a_seed_is_drawn_and_told(serve: Serve, client: openai.OpenAI) -> None:
    first, second = (client.completions.create(model="text", prompt=None) for _ in range(2))
    seeds = [answer.to_dict()["seed"] for answer in (first, second)]
    assert seeds[0] != seeds[1]
    assert [first.choices[0].text] == texts(serve, length=16, seed=seeds[0])


@pytest.mark.parametrize("prompt", [list("hé".encode()), [list("hé".encode())], ["hé"], "hé"])
def test_prompts_of_every_form(serve: Serve, client: openai.OpenAI, prompt: Any) -> None:
    answer = client.completions.create(model="text", prompt=prompt, seed=3)
    assert [choice.text for choice in answer.choices] == texts(serve, prefix="hé", length=16, seed=3)


@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts(serve: Serve, client: openai.OpenAI, stream: bool) -> None:
    body: dict[str, Any] = {"model": "text", "prompt": ["ab", "", "ab"], "n": 2, "seed": 3, "max_tokens": 300}
    if stream:
        got = joined(list(client.completions.create(**body, stream=True)))
    else:
        got = [choice.text for choice in client.completions.create(**body).choices]
    same = {"length": 300, "num_samples": 2}
    each = [texts(serve, prefix=prompt, seed=3 + i, **same) for i, prompt in enumerate(["ab", None, "ab"])]
    assert got == list(chain.from_iterable(each))
    assert each[0] != each[2]


def test_streamed_is_whole(client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "text", "prompt": "hé", "max_tokens": 500, "n": 2, "seed": 5}
    options: Any = {"include_usage": True}
    chunks = list(client.completions.create(**body, stream=True, stream_options=options))
    whole = client.completions.create(**body)
    assert joined(chunks) == [choice.text for choice in whole.choices]
    assert len(chunks) > 6
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks[:-1])
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == ["length"] * 2
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_bytes_of_a_stream(serve: Serve) -> None:
    body = {"model": "text", "max_tokens": 8, "stream": True}
    response = serve.client.post("/v1/completions", json=body, headers={"Authorization": "Bearer any"})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(line.removeprefix("data: "))["usage"] is None for line in lines[:-2])


async def test_asynchronous(serve: Serve, client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "text", "prompt": "a", "max_tokens": 200, "seed": 9}
    async with openai.AsyncOpenAI(base_url=client.base_url, api_key="any") as other:
        assert [model.id async for model in other.models.list()] == [model.id for model in client.models.list()]
        whole = await other.completions.create(**body)
        chunks = [chunk async for chunk in await other.completions.create(**body, stream=True)]
        image = await other.images.generate(model="image", prompt="", extra_body={"seed": 1})
    assert joined(chunks) == [whole.choices[0].text] == texts(serve, prefix="a", length=200, seed=9)
    assert image.data == client.images.generate(model="image", prompt="", extra_body={"seed": 1}).data


@pytest.mark.parametrize("stream", [False, True])
def test_stop_and_echo(serve: Serve, client: openai.OpenAI, stream: bool) -> None:
    [raw] = values(serve.generate(model="text", prefix="hé", length=600, seed=5))
    at = next(place for place in range(40, 600) if raw[place] < 128 and raw[place] not in raw[:place])
    body: dict[str, Any] = {"model": "text", "prompt": "hé", "max_tokens": 600, "seed": 5, "echo": True}
    body["stop"] = [chr(raw[at]), "not there"]
    options: Any = {"include_usage": True}
    answer: list[Completion] = (
        list(client.completions.create(**body, stream=True, stream_options=options))
        if stream
        else [client.completions.create(**body)]
    )
    assert joined(answer) == ["hé" + bytes(raw[:at]).decode(errors="replace")]
    assert [choice.finish_reason for part in answer for choice in part.choices][-1] == "stop"
    assert answer[-1].usage is not None
    assert answer[-1].usage.completion_tokens == at + 1


def pixels(picture: openai.types.Image) -> np.ndarray[Any, Any]:
    """Of the PNG."""
    assert picture.b64_json is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.b64_json))))


@pytest.mark.parametrize(("size", "factor"), [(None, 1), ("auto", 1), ("8x8", 1), ("24x24", 3)])
def test_images_are_those_of_generate(serve: Serve, client: openai.OpenAI, size: str | None, factor: int) -> None:
    answer = client.images.generate(
        model="image", prompt="", n=3, size=size, response_format="b64_json", extra_body={"seed": 7}
    )
    assert answer.data is not None
    same = np.array(values(serve.generate(model="image", num_samples=3, seed=7))) * 255
    for picture, own in zip(answer.data, same, strict=True):
        assert np.array_equal(pixels(picture), np.kron(own, np.ones((factor, factor))))
    assert (answer.size, answer.output_format) == (f"{8 * factor}x{8 * factor}", "png")
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.to_dict()["seed"]) == (24, 7)


def test_images_in_colour(serve: Serve, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="colour", prompt="", extra_body={"seed": 7, "temperature": 0})
    assert answer.data is not None
    same = values(serve.generate(model="colour", seed=7, temperature=0))
    assert np.array_equal(pixels(answer.data[0]), np.reshape(same, (4, 4, 3)))


COMPLETIONS, IMAGES = "/v1/completions", "/v1/images/generations"
REFUSED: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    (COMPLETIONS, {"model": "nothing"}, 404, "model_not_found", "model"),
    (COMPLETIONS, {"model": "truncated"}, 503, "model_failed", "model"),
    (COMPLETIONS, {"model": "image"}, 400, "invalid_value", "model"),
    (COMPLETIONS, {"model": "exploding"}, 400, "invalid_value", "model"),
    (COMPLETIONS, {"prompt": {}}, 400, "invalid_value", "prompt"),
    (COMPLETIONS, {"prompt": []}, 400, "invalid_value", "prompt"),
    (COMPLETIONS, {"prompt": ["a", 1]}, 400, "invalid_value", "prompt"),
    (COMPLETIONS, {"prompt": [256]}, 400, "invalid_value", "prompt"),
    (COMPLETIONS, {"prompt": ["a", "b"] * 600}, 400, "invalid_value", "prompt"),
    (COMPLETIONS, {"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
    (COMPLETIONS, {"max_tokens": 10**6}, 400, "invalid_value", "max_tokens"),
    (COMPLETIONS, {"n": 5000}, 400, "invalid_value", "n"),
    (COMPLETIONS, {"seed": -1}, 400, "invalid_value", "seed"),
    (COMPLETIONS, {"temperature": 1e9}, 400, "invalid_value", "temperature"),
    (COMPLETIONS, {"stop": ["a"] * 5}, 400, "invalid_value", "stop"),
    (COMPLETIONS, {"stop": ""}, 400, "invalid_value", "stop"),
    (COMPLETIONS, {"stream_options": {"include_usage": True}}, 400, "invalid_value", "stream_options"),
    (COMPLETIONS, {"best_of": 2}, 400, "invalid_value", "best_of"),
    (COMPLETIONS, {"logit_bias": {"65": 1}}, 400, "invalid_value", "logit_bias"),
    (COMPLETIONS, {"logprobs": 0}, 400, "invalid_value", "logprobs"),
    (COMPLETIONS, {"suffix": "b"}, 400, "invalid_value", "suffix"),
    (COMPLETIONS, {"top_p": 0.5}, 400, "invalid_value", "top_p"),
    (COMPLETIONS, {"top_p": True}, 400, "invalid_value", "top_p"),
    (COMPLETIONS, {"frequency_penalty": 1}, 400, "invalid_value", "frequency_penalty"),
    (COMPLETIONS, {"presence_penalty": -1}, 400, "invalid_value", "presence_penalty"),
    (COMPLETIONS, {"max_token": 5}, 400, "invalid_value", "max_token"),
    (IMAGES, {"model": "text"}, 400, "invalid_value", "model"),
    (IMAGES, {"prompt": "a cat"}, 400, "invalid_value", "prompt"),
    (IMAGES, {"response_format": "url"}, 400, "invalid_value", "response_format"),
    (IMAGES, {"size": "1024x1025"}, 400, "invalid_value", "size"),
    (IMAGES, {"size": "4x4"}, 400, "invalid_value", "size"),
    (IMAGES, {"size": "8000x8000"}, 400, "invalid_value", "size"),
    (IMAGES, {"n": 5000}, 400, "invalid_value", "n"),
    (IMAGES, {"stream": True}, 400, "invalid_value", "stream"),
    (IMAGES, {"background": "transparent"}, 400, "invalid_value", "background"),
    (IMAGES, {"output_format": "webp"}, 400, "invalid_value", "output_format"),
    (IMAGES, {"quality": "hd"}, 400, "invalid_value", "quality"),
    (IMAGES, {"style": "vivid"}, 400, "invalid_value", "style"),
]


def check(response: httpx.Response, status: int, code: str, param: str | None) -> str:
    """OpenAI's body."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == response.headers["X-Request-ID"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    message: str = error["message"]
    return message


@pytest.mark.parametrize(("path", "body", "status", "code", "param"), REFUSED)
def test_refused(serve: Serve, path: str, body: dict[str, Any], status: int, code: str, param: str | None) -> None:
    body = {"model": "image" if path == IMAGES else "text", **body}
    message = check(serve.client.post(path, json=body), status, code, param)
    assert not {"num_samples", "prefix", "length"} & set(message.replace(".", " ").split())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, {"best_of": 2, "n": 2, "logit_bias": {}, "suffix": "", "top_p": 1.0, "presence_penalty": 0.0}),
        (COMPLETIONS, dict.fromkeys(["best_of", "logprobs", "stop", "echo", "stream_options", "stream", "user"])),
        (IMAGES, {"background": "auto", "quality": "auto", "moderation": "auto", "stream": False, "user": "me"}),
    ],
)
def test_neutral_values_change_nothing(serve: Serve, path: str, body: dict[str, Any]) -> None:
    body = {"model": "image" if path == IMAGES else "text", "seed": 1, **body}
    response = serve.client.post(path, json=body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", COMPLETIONS, b"{", 400, "invalid_request"),
        ("POST", IMAGES, b"[]", 400, "invalid_request"),
        ("POST", COMPLETIONS, b" " * 9 * 2**20, 413, "body_too_large"),
        ("POST", "/v1/chat/completions", b"{}", 404, "not_found"),
        ("GET", "/v1", b"", 404, "not_found"),
        ("GET", COMPLETIONS, b"", 405, "method_not_allowed"),
    ],
)
def test_other_errors_too(serve: Serve, method: str, path: str, content: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    check(serve.client.request(method, path, content=content, headers=headers), status, code, None)
    assert set(serve.client.get("/nothing").json()["error"]) == {"type", "message", "param", "code", "request_id"}


def test_errors_are_of_the_package_s_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="text", prompt="a", logprobs=3)
    assert (wrong.value.code, wrong.value.param) == ("invalid_value", "logprobs")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="text", messages=[])
    with pytest.raises(openai.InternalServerError) as failed:
        client.images.generate(model="truncated", prompt="")
    assert failed.value.code == "model_failed"
    assert failed.value.response.headers["X-Should-Retry"] == "false"


def test_the_queue_is_bounded(serve: Serve, beside: Callable[..., Serve]) -> None:
    api = beside(serve, queue_limit=2)
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda _: api.client.post(COMPLETIONS, json=LONG), range(6)))
    assert sorted(answer.status_code for answer in got) == [200, 200, 429, 429, 429, 429]
    refused = next(answer for answer in got if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    several = {**LONG, "max_tokens": 80_000, "prompt": ["a", "b", "c"]}  # the third is one too many
    assert api.client.post(COMPLETIONS, json=several).status_code == 429
    until(lambda: api.client.post(COMPLETIONS, json={**several, "prompt": "a", "max_tokens": 9}).status_code == 200)
    assert api.metric("vssm_requests_active") == 0


def test_no_worker(serve: Serve, beside: Callable[..., Serve]) -> None:
    lonely = beside(serve, redis_url=serve.redis_url + "?db=1")
    response = lonely.client.get("/v1/models")
    check(response, 503, "no_worker", None)
    assert response.headers["Retry-After"]


def idle(serve: Serve) -> bool:
    return serve.metric("vssm_requests_running") + serve.metric("vssm_requests_waiting") == 0


def settle(serve: Serve) -> None:
    """Until nothing is worked on; what workers tell is up to a second old."""
    time.sleep(1.2)
    until(lambda: idle(serve), 30)
    time.sleep(1.2)


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_client_leaves_is_cancelled(serve: Serve, client: openai.OpenAI, stream: bool) -> None:
    settle(serve)
    before, left = serve.metric("vssm_generated_steps_total"), serve.metric("vssm_requests_cancelled_total")
    if stream:
        with client.completions.create(**LONG, prompt="", stream=True) as chunks:
            next(chunks)
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.2, max_retries=0).completions.create(**LONG, prompt="")
    settle(serve)
    assert serve.metric("vssm_generated_steps_total") - before < 100_000
    assert serve.metric("vssm_requests_cancelled_total") == left + 1


def test_a_stream_that_stops_early_stops_the_work(serve: Serve, client: openai.OpenAI) -> None:
    settle(serve)
    before = serve.metric("vssm_generated_steps_total")
    first = values(serve.generate(model="text", length=1, seed=4))[0][0]
    body: dict[str, Any] = {**LONG, "seed": 4, "prompt": "", "stop": bytes([first]).decode("ascii")}
    assert joined(list(client.completions.create(**body, stream=True))) == [""]
    settle(serve)
    assert serve.metric("vssm_generated_steps_total") - before < 100_000


def test_a_key_that_is_sent_again_gets_the_same_answer(serve: Serve) -> None:
    headers = {"Idempotency-Key": f"openai-{time.time()}"}
    body = {"model": "text", "prompt": ["a", "b"], "max_tokens": 30}
    first, again = (serve.client.post(COMPLETIONS, json=body, headers=headers) for _ in range(2))
    assert first.json()["choices"] == again.json()["choices"]
    assert first.json()["choices"][0]["text"] != first.json()["choices"][1]["text"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = serve.client.post(COMPLETIONS, json={**body, "n": 2}, headers=headers)
    check(other, 400, "idempotency_mismatch", "Idempotency-Key")


def test_openapi_describes_them(serve: Serve) -> None:
    paths = serve.client.get("/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/models/{name}", COMPLETIONS, IMAGES} <= set(paths)
    for path, model in ((COMPLETIONS, "text"), (IMAGES, "image")):
        operation = paths[path]["post"]
        assert set(operation["responses"]) >= {"200", "400", "404", "429", "503"}
        content = operation["requestBody"]["content"]["application/json"]
        assert "$ref" not in json.dumps(content)
        for name, example in content["examples"].items():
            body = {**example["value"], "model": model} | ({"size": "80x80"} if name == "large" else {})
            assert serve.client.post(path, json=body).status_code == 200, name


def test_fewer_passes_of_text(serve: Serve, client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "exact-text", "prompt": ["ab", ""], "n": 2, "seed": 3, "max_tokens": 64}
    exact = client.completions.create(**body)
    few = client.completions.create(**body, extra_body={"max_passes": 4})
    assert exact.to_dict()["passes"] == {"mean": 16.0, "max": 16, "approximate": False}
    assert few.to_dict()["passes"] == {"mean": 4.0, "max": 4, "approximate": True}
    same = {"num_samples": 2, "length": 64, "max_passes": 4}
    of_generate = [serve.generate(model="exact-text", prefix=p, seed=s, **same) for p, s in (("ab", 3), (None, 4))]
    assert [choice.text for choice in few.choices] == [o["text"] for one in of_generate for o in one["outputs"]]
    usage: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    *_, last = client.completions.create(**body, **usage, extra_body={"max_passes": 4})
    assert last.to_dict()["passes"] == few.to_dict()["passes"]


def test_fewer_passes_of_images(client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "exact", "prompt": "", "n": 4}
    exact, few = (client.images.generate(**body, extra_body={"seed": 1, **most}) for most in ({}, {"max_passes": 2}))
    assert exact.to_dict()["passes"] == {"mean": 16.0, "max": 16, "approximate": False}
    assert few.to_dict()["passes"] == {"mean": 2.0, "max": 2, "approximate": True}
    assert exact.data != few.data
    assert "passes" not in client.images.generate(model="image", prompt="").to_dict()
    with pytest.raises(openai.BadRequestError, match="max_passes is for models in exact mode"):
        client.images.generate(model="image", prompt="", extra_body={"max_passes": 2})
