"""tinyshakespeare: 1.1 MB of Shakespeare's plays in one file, as Karpathy put it together for char-rnn."""

from __future__ import annotations

import numpy as np

from vssm.data.dataset import Dataset, Text
from vssm.data.files import DataFile

_FILE = DataFile(
    "input.txt",
    1115394,
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
)
_SHARES = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}  # of the file, in its order


def read(split: str, contents: list[bytes]) -> Text:
    """The bytes of a split."""
    values = np.frombuffer(contents[0], np.uint8)
    first, last = _SHARES[split]
    return Text(values[round(first * len(values)) : round(last * len(values))])


SHAKESPEARE = Dataset(
    title="tinyshakespeare, 1,115,394 bytes of plays: 90 % to train on, 5 % validation, 5 % test",
    licence="public domain",
    folder="tinyshakespeare",
    files=dict.fromkeys(_SHARES, (_FILE,)),
    read=read,
)
