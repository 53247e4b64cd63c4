"""Without a CUDA device Triton kernels run in Triton's interpreter.

That must be chosen before Triton is imported, and torch imports it now and then; so it is done before all tests.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
