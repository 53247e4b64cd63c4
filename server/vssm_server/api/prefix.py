"""Checks a prefix against a model's description, with numpy: 10^5 steps take milliseconds."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from vssm_server.errors import invalid
from vssm_server.messages import ModelInfo
from vssm_server.wording import kind_of, kinds


def parse_prefix(prefix: object, info: ModelInfo, most: int) -> NDArray[np.generic]:
    """The prefix as (steps, size) of the observation's dtype. Raises Problem with what is allowed."""
    if info.takes_prefix == "none":
        raise invalid(
            "prefix",
            f"The model {info.name!r} cannot take a prefix: its encoder is {info.encoder}, for whole sequences.",
        )
    rows = _rows(prefix, info)
    if not 1 <= len(rows) <= most:
        raise invalid("prefix", f"prefix must have 1 to {most} steps, not {len(rows)}.")
    array = _numbers(rows, info)
    return _in_range(array, info)


def _rows(prefix: object, info: ModelInfo) -> list[object]:
    if info.modality == "text" and isinstance(prefix, str):
        try:
            return list(prefix.encode())
        except UnicodeEncodeError:
            raise invalid("prefix", "prefix is not valid Unicode.") from None
    if isinstance(prefix, list):
        return prefix
    if isinstance(prefix, str):
        raise invalid("prefix", f"prefix must be a list of steps, not a string: the model {info.name!r} makes no text.")
    kind = "a string or a list" if info.modality == "text" else "a list"
    raise invalid("prefix", f"prefix must be {kind} of steps, not {kind_of(prefix)}.")


def _numbers(rows: list[object], info: ModelInfo) -> NDArray[np.generic]:
    """(steps, size); a flat list is one value a step."""
    types = set(map(type, rows))
    if types == {list}:
        nested: list[list[object]] = [row for row in rows if isinstance(row, list)]
        widths = set(map(len, nested))
        if widths != {info.size}:
            raise invalid("prefix", f"Each step of prefix must have {info.size} values, not {_list(widths)}.")
        types = set(map(type, chain.from_iterable(nested)))
    elif info.size != 1:
        raise invalid("prefix", f"prefix must be a list of steps of {info.size} values each.")
    if not types <= {int, float}:
        raise invalid("prefix", f"prefix must have only numbers, not {kinds(types - {int, float})}.")
    try:
        return np.array(rows, dtype=np.float64).reshape(len(rows), info.size)
    except OverflowError:
        raise invalid("prefix", "prefix has a number that is too large.") from None


def _in_range(array: NDArray[np.generic], info: ModelInfo) -> NDArray[np.generic]:
    observation = info.observation
    low, high = observation.low, observation.high
    if not np.isfinite(array).all():
        raise invalid("prefix", "prefix must have only finite numbers.")
    whole = observation.dtype != "float32"
    outside = np.zeros(array.shape, dtype=bool)
    if low is not None:
        outside |= np.less(array, low)
    if high is not None:
        outside |= np.greater(array, high)
    if whole:
        outside |= np.not_equal(array, np.floor(array.astype(np.float64)))
    else:
        outside |= ~np.isfinite(_cast(array, "float32"))
    if outside.any():
        step, place = (int(index) for index in np.argwhere(outside)[0])
        value = repr(float(array[step, place])).removesuffix(".0")
        raise invalid("prefix", f"prefix[{step}][{place}] is {value}; allowed are {_allowed(info)}.")
    return _cast(array, observation.dtype)


def _cast(array: NDArray[np.generic], dtype: str) -> NDArray[np.generic]:
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _allowed(info: ModelInfo) -> str:
    observation = info.observation
    kind = "numbers" if observation.dtype == "float32" else "integers"
    if observation.low is None and observation.high is None:
        return f"{kind} that fit {observation.dtype}"
    return f"{kind} from {observation.low:g} to {observation.high:g}"


def _list(items: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, items))[:4])
