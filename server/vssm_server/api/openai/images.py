"""POST /v1/images/generations: a model of images draws; each image is a PNG in base64."""

import asyncio
import base64
import re
import time

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from vssm_server.api import once, render, run
from vssm_server.api.body import read
from vssm_server.api.openai import errors
from vssm_server.api.openai.answers import Images
from vssm_server.api.openai.documented import IMAGES, responses
from vssm_server.api.openai.schema import ImageRequest
from vssm_server.api.plan import Plan
from vssm_server.api.schema import GenerateRequest
from vssm_server.api.state import api_of
from vssm_server.errors import invalid
from vssm_server.messages import Image

MAX_PIXELS = 2**24  # of one answer whose images are enlarged

router = APIRouter(tags=["openai"])


@router.post(
    errors.IMAGES,
    summary="Make images, as OpenAI's clients ask for them",
    response_model=Images,
    responses=responses(400, 401, 403, 404, 413, 415, 429, 500, 503, 504, 507),
    openapi_extra=IMAGES,
)
async def generate_images(request: Request) -> Response:
    """The images are those of POST /generate with the same seed. A VSSM follows no words: `prompt` must be empty."""
    began = time.perf_counter()
    api = await api_of(request)
    api.check_open()
    asked = await read(request, ImageRequest)
    ticket = once.ticket(request, asked.model_dump)
    count = asked.n or 1
    temperature = 1.0 if asked.temperature is None else asked.temperature
    wanted = GenerateRequest.model_validate(
        {
            "model": asked.model,
            "num_samples": count,
            "seed": asked.seed,
            "temperature": temperature,
            "max_passes": asked.max_passes,
        }
    )

    async def plan_it() -> Plan:
        plan = await run.plan_of(wanted, request, api, ticket)
        factor_of(asked.size, _image(plan), count)
        return plan

    started = await run.start(request, api, ticket, plan_it, began)
    [done] = await run.whole([started], request.receive)
    plan = started.plan
    factor = factor_of(asked.size, _image(plan), count)
    pixels = render.pixels_of(plan, done)
    pictures = await asyncio.to_thread(lambda: [_base64_png(one, factor) for one in pixels])
    content = render.dumps({**_answer(plan, pictures, factor), **render.passes_of([done])})
    return Response(content, media_type=render.JSON, headers=run.headers([started], [done]))


def _image(plan: Plan) -> Image:
    info = plan.info
    if info.image is None:
        instead = "/v1/completions continues text" if render.is_text(info) else "POST /generate gives its values"
        raise invalid("model", f"The model {info.name!r} makes no images; {instead}.")
    return info.image


def factor_of(size: str | None, image: Image, count: int) -> int:
    """How many times larger than the model's own the images are to be. Raises Problem."""
    if size in (None, "auto"):
        return 1
    own = f"{image.width}x{image.height}"
    most = max(1, int((MAX_PIXELS / (count * image.width * image.height)) ** 0.5))
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size or "")
    factor = int(match[1]) // image.width if match else 0
    if match is None or (int(match[1]), int(match[2])) != (factor * image.width, factor * image.height) or factor < 1:
        message = f"size must be {own}, or both sides a multiple of it as in {2 * image.width}x{2 * image.height}"
        raise invalid("size", f"{message}; not {(size or '')[:60]!r}.")
    if factor > most:
        message = f"size must be at most {most * image.width}x{most * image.height} for n = {count}, not {size}"
        raise invalid("size", f"{message}. Ask for fewer images, or enlarge them yourself.")
    return factor


def _base64_png(pixels: NDArray[np.uint8], factor: int) -> str:
    """(height, width, channels); every pixel becomes a square of `factor` by `factor`."""
    enlarged = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return base64.b64encode(render.encoded_png(enlarged)).decode()


def _answer(plan: Plan, pictures: list[str], factor: int) -> dict[str, object]:
    request, image = plan.request, _image(plan)
    steps = request.num_samples * request.length
    return {
        "created": int(time.time()),
        "background": "opaque",
        "output_format": "png",
        "size": f"{factor * image.width}x{factor * image.height}",
        "seed": request.seed,
        "data": [{"b64_json": picture} for picture in pictures],
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
            "output_tokens": steps,
            "total_tokens": steps,
        },
    }
