"""What the machine can do, measured: operations a second of a large matrix product, bytes a second of a large copy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.speed.counts import Cost
from benchmarks.speed.timing import Clock, Job, in_turns, median


@dataclass(frozen=True)
class Sizes:
    """Of the matrices and of the copied tensor: large enough that starting the work costs nothing."""

    matrix: int
    copied_bytes: int


CPU, CUDA, TINY = Sizes(2048, 1 << 29), Sizes(8192, 1 << 32), Sizes(64, 1 << 20)


@dataclass(frozen=True)
class Limits:
    """float32 products on a CPU, bfloat16 ones on CUDA; bytes read and bytes written both count."""

    flops_per_second: float
    bytes_per_second: float

    def seconds(self, cost: Cost) -> tuple[float, float]:
        """The least that the products and the bytes can take, each by itself."""
        return cost.flops / self.flops_per_second, cost.bytes / self.bytes_per_second

    def fractions(self, cost: Cost, seconds: float) -> dict[str, Any]:
        """Of the limits that a work of this cost reaches when it takes `seconds`, and which of them is nearer."""
        products, moved = self.seconds(cost)
        return {
            "of_matmul": products / seconds,
            "of_copy": moved / seconds,
            "limit": "products" if products >= moved else "bytes",
        }

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Product:
    """The large matrix product as a job, with its operations."""

    job: Job
    flops: float


def product(clock: Clock, sizes: Sizes) -> Product:
    """float32 on a CPU, bfloat16 on CUDA, into a result that exists."""
    kind = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    n = sizes.matrix
    a, b, out = (torch.randn(n, n, device=clock.device).to(kind) for _ in range(3))
    return Product(Job(lambda _: torch.mm(a, b, out=out)), 2.0 * n**3)


def measure(clock: Clock, sizes: Sizes, seconds: float) -> Limits:
    """Both, in turns, for about `seconds`."""
    large = product(clock, sizes)
    source = torch.zeros(sizes.copied_bytes // 4, device=clock.device)
    target = torch.ones_like(source)
    jobs = {"product": large.job, "copy": Job(lambda _: target.copy_(source))}
    times = in_turns(clock, jobs, seconds)
    return Limits(large.flops / median(times["product"]), 2 * sizes.copied_bytes / median(times["copy"]))


def higher(first: Limits, second: Limits) -> Limits:
    """Of two measurements the better figures: a disturbed limit would flatter everything beside it."""
    return Limits(
        max(first.flops_per_second, second.flops_per_second), max(first.bytes_per_second, second.bytes_per_second)
    )
