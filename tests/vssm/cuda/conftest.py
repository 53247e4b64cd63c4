"""Without a CUDA device the kernels run in Triton's interpreter, which must be chosen before Triton is imported.

TRITON_INTERPRET is set while this folder is collected; nothing else in the tests imports Triton. What is marked gpu is
skipped then.
"""

import os
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
# The interpreter of Triton 3.6 makes numbers of arrays of one element, which newer numpy refuses.
INTERPRETS = [int(n) for n in version("triton").split(".")[:2]] >= [3, 7] or np.lib.NumpyVersion(
    np.__version__
) < "2.4.0"

if not HAS_CUDA:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("Triton was imported before its interpreter was chosen")
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not HAS_CUDA:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        elif "device" in getattr(item, "fixturenames", ()) and not (HAS_CUDA or INTERPRETS):
            item.add_marker(pytest.mark.skip(reason="this numpy needs the interpreter of Triton 3.7 or newer"))


@pytest.fixture
def device() -> torch.device:
    """The GPU where there is one, else the CPU, on which kernels are interpreted."""
    return torch.device("cuda" if HAS_CUDA else "cpu")
