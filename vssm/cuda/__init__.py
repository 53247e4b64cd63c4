"""The CUDA path: Triton kernels, the networks made of them, and CUDA graphs. Imported only for CUDA tensors.

    recurrence  h_t = a_t h_{t-1} + b_t, sequential in time, parallel over rows and channels
    linear      products with what comes before and after them fused in; a row's bits never depend on its neighbours
    gates       the nonlinearities in one kernel, forward and back, for training
    selective_scan  that of a Mamba, in one kernel forward and two back
    noise       Philox and its transforms in one kernel
    networks    a model's networks from these kernels
    graphs      a tensor function as CUDA graphs, one for each bucket of shapes

With TRITON_INTERPRET=1 before the first import of Triton the same kernels run on CPU tensors, slowly: the tests do so.
Importing this package raises ImportError where Triton is missing.
"""

from __future__ import annotations

try:
    import triton
except ImportError as error:
    raise ImportError(
        "CUDA tensors need Triton 3.5 or newer, which comes with PyTorch's CUDA builds for Linux; "
        "elsewhere: pip install 'triton>=3.5,<4', or keep the model on the CPU"
    ) from error

INTERPRETED: bool = bool(triton.knobs.runtime.interpret)
