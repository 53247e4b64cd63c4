"""Results as JSON, text, npy and PNG."""

import functools
import io
import math
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from vssm_server.api.plan import Plan
from vssm_server.errors import Problem, invalid
from vssm_server.messages import LITTLE, Array, Done, ModelInfo

JSON = "application/json"
PNG = "image/png"
NPY = "application/x-npy"
SSE = "text/event-stream"
GAP = 2  # pixels between the images of a grid
Values = NDArray[np.generic]


def dumps(content: object) -> bytes:
    """JSON, arrays included."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def negotiate(accept: str, stream: bool) -> str:
    """The media type of the answer, from the Accept header. Raises Problem(not_acceptable)."""
    able = [SSE, JSON] if stream else [JSON, PNG, NPY]
    for asked in sorted(_parse_accept(accept), key=lambda item: -item[1]):
        for media_type in able:
            if asked[1] > 0 and asked[0] in ("*/*", media_type, media_type.partition("/")[0] + "/*"):
                return SSE if stream else media_type
    what = "A stream" if stream else "The result"
    raise Problem("not_acceptable", f"{what} can be {', '.join(able)}; Accept asks for {accept[:100]!r}.")


def _parse_accept(accept: str) -> list[tuple[str, float]]:
    items = []
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [piece[2:] for piece in parameters if piece.startswith("q=")]
        try:
            items.append((name, float(weights[0]) if weights else 1.0))
        except ValueError:
            items.append((name, 0.0))
    return items


def head(plan: Plan, done: Done, total_ms: float) -> dict[str, object]:
    """The response without the values."""
    request = plan.request
    outputs = [{"index": index, "finish_reason": "length"} for index in range(request.num_samples)]
    return {
        "id": request.id,
        "model": request.model,
        "fingerprint": done.fingerprint,
        "seed": done.seed,
        "session_id": request.session_id,
        "session_version": done.session_version,
        "position": done.position,
        "outputs": outputs,
        "usage": {"prefix_steps": plan.prefix_steps, "generated_steps": request.num_samples * request.length},
        **passes_of([done]),
        "timings": {
            "queue_ms": round(done.queue_ms, 3),
            "generate_ms": round(done.generate_ms, 3),
            "total_ms": round(total_ms, 3),
        },
    }


def passes_of(dones: Sequence[Done]) -> dict[str, object]:
    """The field `passes` of runs of as many samples each, where their model is in exact mode."""
    made = [done.passes for done in dones if done.passes is not None]
    if not made:
        return {}
    mean, most = sum(passes.mean for passes in made) / len(made), max(passes.max for passes in made)
    return {"passes": {"mean": mean, "max": most, "approximate": any(passes.approximate for passes in made)}}


def whole(plan: Plan, done: Done, total_ms: float) -> bytes:
    """The response as JSON."""
    values = values_of(plan, done)
    texts = as_text(values, plan.info)
    outputs = [
        {"index": index, "values": flat(row), "text": text, "finish_reason": "length"}
        for index, (row, text) in enumerate(zip(values, texts, strict=True))
    ]
    return dumps({**head(plan, done, total_ms), "outputs": outputs, **quantiles_of(values, plan)})


def check_quantiles(media_type: str, plan: Plan) -> None:
    """Raises Problem when the answer has no place for quantiles."""
    if plan.quantiles and media_type not in (JSON, SSE):
        message = f"{media_type} has no place for quantiles; ask for {JSON}, or leave quantiles out."
        raise Problem("not_acceptable", message, "quantiles")


def quantiles_of(values: Values, plan: Plan) -> dict[str, list[dict[str, object]]]:
    """The field `quantiles` of an answer for values (num_samples, steps, size), or nothing when none was asked for.

    Linear between the order statistics, as numpy has it: the same however a stream is cut.
    """
    if not plan.quantiles:
        return {}
    levels = np.quantile(values.astype(np.float64), plan.quantiles, axis=0)  # (quantiles, steps, size)
    each = zip(plan.quantiles, levels.astype(np.float32), strict=True)
    return {"quantiles": [{"quantile": quantile, "values": flat(level)} for quantile, level in each]}


def values_of(plan: Plan, done: Done) -> Values:
    """(num_samples, length, size); empty when nothing was generated."""
    return packed_values(plan, done).unpack()


def packed_values(plan: Plan, done: Done) -> Array:
    """The same as it came from the worker."""
    empty = Array(plan.info.observation.dtype, (plan.request.num_samples, 0, plan.info.size), b"")
    return done.values or empty


def flat(values: Values) -> Values:
    """(steps, size), or (steps,) when size is 1."""
    return np.ascontiguousarray(values[:, 0] if values.shape[1] == 1 else values)


def as_text(values: Values, info: ModelInfo) -> list[str | None]:
    """Each sequence of a text model as UTF-8, what is none replaced."""
    if not is_text(info) or values.dtype.kind == "f":
        return [None] * len(values)
    return [row.astype(np.uint8).tobytes().decode(errors="replace") for row in values]


def is_text(info: ModelInfo) -> bool:
    """Whether values are bytes of text."""
    return info.modality == "text" and (info.observation.classes or 0) <= 256


def npy(values: Array) -> bytes:
    """(num_samples, steps, size) in numpy's file format: as np.save has it, from the bytes that the worker sent."""
    return _npy_header(values.dtype, values.shape) + values.data


@functools.lru_cache(maxsize=256)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(LITTLE[dtype])
    np.lib.format.write_array_header_1_0(buffer, {"descr": description, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def check_image(plan: Plan) -> None:
    """Raises Problem unless the result together with its prefix is a whole image."""
    info, request = plan.info, plan.request
    if info.image is None:
        raise Problem("not_acceptable", f"The model {info.name!r} makes no images; ask for {JSON} or {NPY}.")
    if request.resume or plan.start + request.length != info.length:
        message = f"image/png needs a whole image: no session_id, and prefix and length together {info.length} steps."
        raise invalid("length", message)


def png(plan: Plan, done: Done) -> bytes:
    """The samples, each after its prefix, as a grid of images."""
    return encoded_png(_grid(pixels_of(plan, done)))


def pixels_of(plan: Plan, done: Done) -> NDArray[np.uint8]:
    """The samples, each after its prefix, as images (num_samples, height, width, channels)."""
    info = plan.info
    assert info.image is not None
    values = values_of(plan, done).astype(np.float32)  # (num_samples, length, size)
    if plan.request.prefix is not None:
        prefix = plan.request.prefix.unpack().astype(np.float32)
        values = np.concatenate([np.broadcast_to(prefix, (len(values), *prefix.shape)), values], axis=1)
    shape = (len(values), info.image.height, info.image.width, info.image.channels)
    return _brightness(values.reshape(shape), info)


def encoded_png(pixels: NDArray[np.uint8]) -> bytes:
    """One image (height, width, channels), of one channel or three."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _brightness(values: Values, info: ModelInfo) -> NDArray[np.uint8]:
    low = info.observation.low if info.observation.low is not None else float(np.min(values.astype(np.float32)))
    high = info.observation.high if info.observation.high is not None else float(np.max(values.astype(np.float32)))
    share = (values.astype(np.float32) - low) / max(high - low, 1e-12)
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return pixels


def _grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(count, H, W, C) -> one (height, width, C), as square as it gets, on grey."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 128, np.uint8)
    for index, image in enumerate(images):
        top, left = (
            GAP + cell * extent
            for cell, extent in zip(divmod(index, columns), (height + GAP, width + GAP), strict=True)
        )
        grid[top : top + height, left : left + width] = image
    return grid
