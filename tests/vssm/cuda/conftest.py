"""Kernels run on a CUDA device where there is one, else in Triton's interpreter; what is marked gpu is skipped then."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
try:
    TRITON = [int(number) for number in version("triton").split(".")[:2]]
except PackageNotFoundError:  # not on Linux
    TRITON, collect_ignore_glob = [], ["test_*.py"]
# The interpreter before 3.7 makes numbers of arrays of one element, which newer numpy refuses.
INTERPRETS = TRITON >= [3, 7] or np.lib.NumpyVersion(np.__version__) < "2.4.0"


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
