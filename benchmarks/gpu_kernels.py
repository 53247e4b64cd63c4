"""Measure the Triton kernels on a CUDA device, each beside the least that it could take.

    recurrence   against a copy of as many bytes
    products     against torch's bfloat16 product of the same shape, and a copy of as many bytes
    a block      of a model: four kernels, against the time of its operations at the matmul peak
    noise        against a copy of as many bytes
    a pass       of a model of about 1 M parameters, values to the host included, in blocks of several sizes

A timing is the median of replays of a CUDA graph of ten calls, so that launching costs nothing; shapes that fit into
the second-level cache find it warm. The ceilings, copy and matmul, are measured in the same run.

    python benchmarks/gpu_kernels.py --output benchmarks/results/gpu_kernels.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vssm import VSSM, ModelConfig, Window
from vssm.passes import Pass

CALLS, REPLAYS = 10, 15
DEVICE = torch.device("cuda")
ROWS = ((512, 784), (64, 784), (1, 784))  # sequences, steps


@dataclass(frozen=True)
class Row:
    """One kernel at one shape: what it took, and the fraction of that which copy and matmul peak would take."""

    kernel: str
    shape: str
    ms: float
    copy_ms: float
    matmul_ms: float
    of_copy: float
    of_matmul: float
    torch_ms: float | None = None


@dataclass(frozen=True)
class Ceilings:
    """Bytes per second read and written by a copy, operations per second of a bfloat16 product."""

    bytes_per_second: float
    operations_per_second: float

    def row(
        self, kernel: str, shape: str, ms: float, moved: float, operations: float, torch_ms: float | None = None
    ) -> Row:
        copy_ms, matmul_ms = 1e3 * moved / self.bytes_per_second, 1e3 * operations / self.operations_per_second
        return Row(kernel, shape, ms, copy_ms, matmul_ms, copy_ms / ms, matmul_ms / ms, torch_ms)


def timed(job: Callable[[], object], calls: int = CALLS) -> float:
    """Milliseconds of one call."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            job()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            job()
    times = []
    for _ in range(REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)) / calls)
    return statistics.median(times)


def ceilings() -> Ceilings:
    """A copy of 2 GiB, a product of 8192 x 8192 x 8192 random numbers."""
    x, size = torch.empty(1 << 31, dtype=torch.uint8, device=DEVICE), 8192
    y = torch.empty_like(x)
    copied = timed(lambda: y.copy_(x))
    a, b = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return Ceilings(2 * x.numel() / (1e-3 * copied), 2 * size**3 / (1e-3 * timed(lambda: a @ b)))


def recurrences(top: Ceilings, channels: int = 80) -> Iterator[Row]:
    """Time-invariant complex, gated real, and the planar one of the networks."""
    from vssm.cuda.recurrence import planar_recurrence, recurrence

    for batch, steps in (*ROWS, (8, 16384)):
        shape = (batch, steps, channels)
        count, name = batch * steps * channels, f"({batch}, {steps}, {channels})"
        a = 0.9 * torch.exp(1j * torch.rand(channels, device=DEVICE))
        b, h0 = (torch.randn(s, device=DEVICE, dtype=torch.complex64) for s in (shape, (batch, channels)))
        yield top.row("recurrence complex64", name, timed(lambda: recurrence(a, b, h0)), 16 * count, 0)  # noqa: B023
        gate, x, start = torch.rand(shape, device=DEVICE), torch.randn(shape, device=DEVICE), h0.real.contiguous()
        yield top.row("recurrence gated float32", name, timed(lambda: recurrence(gate, x, start)), 12 * count, 0)  # noqa: B023
        state = torch.zeros(batch, 2 * channels, device=DEVICE)
        end, last = torch.zeros_like(state), torch.full((batch,), steps - 1, device=DEVICE)
        for dtype in (torch.float32, torch.bfloat16):
            u = torch.randn(batch, steps, 2 * channels, device=DEVICE).to(dtype)
            ms = timed(lambda: planar_recurrence(a, u, state, last, end, dtype))  # noqa: B023
            yield top.row(f"recurrence planar {str(dtype)[6:]}", name, ms, 4 * u.element_size() * count, 0)


def products(top: Ceilings, size: int = 160) -> Iterator[Row]:
    """The three kinds of product in a block, bfloat16, beside torch's product alone."""
    from vssm.cuda.linear import Norm, gated, linear, pack

    weight, twice = (torch.randn(n * size, size, device=DEVICE) for n in (1, 2))
    layer, pair = pack(weight, None, "bf16"), pack(twice, None, "bf16", 2)
    norm = Norm(torch.ones(2, size, device=DEVICE), 1e-5)
    for batch, steps in ROWS:
        rows, name = batch * steps, f"{batch * steps} x {size}"
        x = torch.randn(rows, size, device=DEVICE)
        narrow = x.bfloat16()
        kept = torch.empty_like(narrow)
        jobs: list[tuple[str, Callable[[], Tensor], int, Tensor]] = [
            ("norm, input", lambda: linear(layer, x, norm=norm, normed=kept, dtype=torch.bfloat16), 8, weight),  # noqa: B023
            ("output, skip, activate", lambda: linear(
                layer, narrow, skip=(norm.values[0], kept), activate=True, dtype=torch.bfloat16), 6, weight),  # noqa: B023
            ("mix, gate, residual", lambda: gated(pair, narrow, x), 10, twice),  # noqa: B023
        ]  # fmt: skip
        for kernel, job, each, w in jobs:
            plain = timed(lambda: narrow @ w.T.bfloat16())  # noqa: B023
            yield top.row(kernel, name, timed(job), each * rows * size, 2 * rows * w.numel(), plain)


def blocks(top: Ceilings, size: int = 160) -> Iterator[Row]:
    """One level of a model: latents into features, and a block as wide as its states."""
    from vssm.cuda.networks import TritonNetworks

    latents = 16
    level = {"kind": "gaussian", "size": latents, "layers": 1}
    networks_of = {"decoder": {"width": size, "state": size // 2}, "encoder": {"width": 8, "state": 4, "layers": 0}}
    config = {"length": 784, "size": 1, "observation": {"kind": "bernoulli"}, "levels": [level], **networks_of}
    networks = TritonNetworks(VSSM(ModelConfig.model_validate(config)).to(DEVICE).requires_grad_(False))
    for batch, steps in ROWS:
        z = torch.randn(batch, steps, latents, device=DEVICE)
        state, last = torch.zeros(batch, 1, size, device=DEVICE), torch.full((batch,), steps - 1, device=DEVICE)
        ms = timed(lambda: networks.decode(0, z, None, state, last))  # noqa: B023
        moved = batch * steps * (4 * latents + 4 * size + 28 * size)  # 8, 4, 6 and 10 bytes a number in a block
        operations = 2 * batch * steps * size * (latents + 4 * size)
        yield top.row("block", f"({batch}, {steps}, {size})", ms, moved, operations)


def noises(top: Ceilings, width: int = 48) -> Iterator[Row]:
    """All kinds."""
    from vssm.noise import Counters, Kind

    kinds: tuple[Kind, ...] = ("normal", "logistic", "gumbel")
    for batch, steps in ROWS:
        counters = Counters(*(torch.arange(batch, device=DEVICE) for _ in range(3)))
        for kind in kinds:
            ms = timed(lambda: counters.draw(kind, 0, steps, width))  # noqa: B023
            yield top.row(f"noise {kind}", f"({batch}, {steps}, {width})", ms, 4 * batch * steps * width, 0)


def passes(top: Ceilings) -> Iterator[Row]:
    """Wall clock of whole passes, against the time of their products at the matmul peak."""
    from vssm.cuda.networks import TritonNetworks

    level = {"kind": "gaussian", "size": 16, "layers": 2}
    widths = {"decoder": {"width": 160, "state": 80}, "encoder": {"width": 160, "state": 80, "layers": 1}}
    config = {"length": 784, "size": 1, "observation": {"kind": "bernoulli"}, "levels": [level] * 3, **widths}
    model = VSSM(ModelConfig.model_validate(config)).to(DEVICE).requires_grad_(False)
    used = [p.numel() for name, p in model.named_parameters() if p.dim() == 2 and _generates(name)]
    networks = TritonNetworks(model)
    for batch, steps in ROWS:
        for block_rows in (1 << 20, 1 << 16, 1 << 15):
            networks.block_rows = block_rows
            window = Window(model.start(batch, 0), steps, encode=False)
            ms = wall(lambda: Pass(model, networks, [window]).run())  # noqa: B023
            yield top.row(f"pass, blocks of {block_rows}", f"({batch}, {steps})", ms, 0, 2 * batch * steps * sum(used))


def _generates(name: str) -> bool:
    return name.startswith(("levels", "observation.head")) and "posterior" not in name


@torch.no_grad()
def wall(job: Callable[[], object]) -> float:
    """Milliseconds of one call that waits for its results."""
    times = []
    for _ in range(REPLAYS):
        began = time.perf_counter()
        job()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[3:])


def measure() -> dict[str, object]:
    """Everything: the device, the ceilings and a list of rows."""
    top = ceilings()
    rows = [row for part in (recurrences, products, blocks, noises, passes) for row in part(top)]
    device = {"name": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
    return {"device": device, "ceilings": asdict(top), "rows": [asdict(row) for row in rows]}


def show(content: dict[str, object], console: Console) -> None:
    """One line a row."""
    table = Table(title=f"{content['device']}, {content['ceilings']}")
    for name in ("kernel", "shape", "ms", "copy ms", "matmul ms", "of copy", "of matmul", "torch ms"):
        table.add_column(name, justify="left" if name in ("kernel", "shape") else "right")
    rows = content["rows"]
    assert isinstance(rows, list)
    for row in rows:
        figures = [row[k] for k in ("ms", "copy_ms", "matmul_ms", "of_copy", "of_matmul", "torch_ms")]
        table.add_row(row["kernel"], row["shape"], *("" if v is None else f"{v:.3f}" for v in figures))
    console.print(table)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_kernels needs a CUDA device and PyTorch built for CUDA; none was found.")
    content = measure()
    show(content, Console(width=150))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
