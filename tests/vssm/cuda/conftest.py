"""Without a CUDA device the kernels run in Triton's interpreter, which must be chosen before Triton is imported.

TRITON_INTERPRET is set while this folder is collected; nothing else in the tests imports Triton.
"""

import os
import sys

import pytest
import torch

if not torch.cuda.is_available():
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("Triton was imported before its interpreter was chosen")
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def device() -> torch.device:
    """The GPU where there is one, else the CPU, on which kernels are interpreted."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
