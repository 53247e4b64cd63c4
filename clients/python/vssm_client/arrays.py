"""numpy in and out. numpy is optional: it is imported here, when an array is asked for, and nowhere else."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vssm_client.models import Values


@dataclass(frozen=True)
class ArrayGeneration:
    """The result of a request as one array: `values` (num_samples, steps, size) in the model's own dtype.

    That is uint8 or int64 for whole numbers and float32 for others. `id`, `seed` and `session_id` as in Generation.
    """

    id: str
    seed: int
    session_id: str | None
    values: NDArray[np.generic]


@runtime_checkable
class _Listable(Protocol):
    def tolist(self) -> object: ...


def plain(value: object) -> object:
    """What `json` can write for a value that it does not know: an array or number of numpy, or any sequence.

    Raises TypeError for anything else.
    """
    if isinstance(value, _Listable):
        return value.tolist()
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent; a request has numbers, strings, lists and arrays")


def need_numpy() -> None:
    """Raises ImportError, with advice, when numpy is not installed."""
    if importlib.util.find_spec("numpy") is None:
        raise ImportError('arrays need numpy: pip install "vssm-client[numpy]"')


def of_rows(rows: Sequence[Values]) -> NDArray[np.generic]:
    """(count, steps, size) from lists: int64 when all are whole numbers, otherwise float32.

    Lists without steps do not tell their size: they count as flat, (count, 0, 1).
    """
    need_numpy()
    import numpy as np

    array = np.asarray(rows)
    flat = array.ndim == 2  # one value a step; also what has no steps at all
    return (array[:, :, None] if flat else array).astype(np.int64 if array.dtype.kind == "i" else np.float32)


def of_npy(content: bytes) -> NDArray[np.generic]:
    """The array of a file in numpy's format; never runs code from it, or takes more memory than there are values.

    Raises ValueError when it is none.
    """
    need_numpy()
    import numpy as np

    stream = io.BytesIO(content)
    try:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(stream)
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        values = np.frombuffer(content, dtype, offset=stream.tell())  # refused when there are fewer than it says
        return np.array(values.reshape(shape, order="F" if columns_first else "C"))
    except Exception as error:  # numpy has a dozen ways to say so: its reader of headers is Python's tokenizer
        raise ValueError(f"these bytes are no array in numpy's format: {error}") from error


def to_npy(array: NDArray[np.generic]) -> bytes:
    """An array in numpy's file format."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
