"""Compile every kernel for a Hopper GPU, which needs none: `python -m tests.vssm.cuda.hopper [directory]`.

Prints one line of JSON a kernel: its name, how many fused multiply-adds its PTX has, barriers, and shared memory. With
a directory, PTX and cubin are written there. Not in the interpreter: TRITON_INTERPRET must be unset.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vssm.cuda import bits, gates, linear, noise, recurrence, selective_scan
from vssm.cuda.linear import Precision

HOPPER = GPUTarget("cuda", 90, 32)


Kernel = tuple[str, Any, dict[str, Any], int]  # name, kernel, types of what is given and values of constants, warps


def _pointers(dtype: str, *names: str) -> dict[str, str]:
    return dict.fromkeys((f"{name}_ptr" for name in names), dtype)


def recurrences() -> Iterator[Kernel]:
    scan = {"CHANNELS": 64, "BLOCK": recurrence.BLOCK, "STEPS": recurrence.STEPS}
    for kernel, name, dtype in ((recurrence._real, "real", "*fp32"), (recurrence._complex, "complex", "*i64")):
        given = _pointers(dtype, "a", "b", "h0", "h") | {"steps": "i32"}
        yield f"recurrence {name} fixed", kernel, given | scan | {"GATED": False, "REVERSE": False}, 1
        yield f"recurrence {name} gated", kernel, given | scan | {"GATED": True, "REVERSE": True}, 1
    for dtype in ("bf16", "fp32"):
        given = _pointers("*fp32", "a", "state", "end") | _pointers(f"*{dtype}", "u", "h") | {"last_ptr": "*i64"}
        strides = dict.fromkeys(("steps", "state_stride", "end_stride"), "i32")
        yield f"recurrence planar {dtype}", recurrence._planar, given | strides | scan, 1


def noises() -> Iterator[Kernel]:
    given = _pointers("*i64", "seed", "sample", "position") | {"purpose": "i32", "steps": "i32"}
    for kind in ("word", "normal", "logistic", "gumbel"):
        out = {"out_ptr": "*i64" if kind == "word" else "*fp32"}
        yield f"noise {kind}", noise._draw, given | out | {"WIDTH": 16, "KIND": kind, "BLOCK": noise.BLOCK}, 4


def products() -> Iterator[Kernel]:
    """Of a model 160 wide, and small ones: layers of one product and of two."""
    cases: tuple[tuple[Precision, int, int], ...] = (("bf16", 160, 160), ("bf16", 28, 3), ("float32", 28, 3))
    for precision, inputs, outputs in cases:
        factor = "*bf16" if precision == "bf16" else "*fp32"
        bf16 = {"BF16": precision == "bf16", "EMULATED": False}
        warps = 8 if precision == "bf16" else 4
        shape = f"{precision} {inputs} x {outputs}"
        given = _pointers("*fp32", "x", "bias", "norm", "skip_weight", "add") | {"rows": "i32"}
        given |= _pointers(factor, "weight", "out", "normed", "skip")
        for name, on in (("head", ("NORM", "KEEP")), ("tail", ("SKIP", "ADD", "ACTIVATE"))):
            flags: dict[str, Any] = {flag: flag in on for flag in ("NORM", "KEEP", "SKIP", "ADD", "ACTIVATE")} | {
                "EPS": 1e-5,
                **bf16,
            }
            types = {"x_ptr": "*fp32" if name == "head" else factor}
            flags |= _sizes(inputs, outputs, precision, 1)
            yield f"{name} {shape}", linear._single, given | types | flags, warps
        given = _pointers("*fp32", "bias", "out", "other") | _pointers(factor, "x", "weight") | {"rows": "i32"}
        for name, is_latent in (("gated", False), ("latent", True)):
            sizes = _sizes(inputs, outputs, precision, 2) | {"NP": 192, "LIMIT": 8.0, "LATENT": is_latent}
            yield f"{name} {shape}", linear._double, given | bf16 | sizes, warps


def heads() -> Iterator[Kernel]:
    """Of single bits, as in the shipped mnist-exact."""
    given = _pointers("*fp32", "b", "e", "noise", "near", "last", "bias", "params") | {"values_ptr": "*u8"}
    sizes = {"WIDTH": 96, "WIDTH_P": 128, "NEAR": 27, "NEAR_P": 32}
    yield "sweep of bits", bits._sweep, given | {"steps": "i32"} | sizes, 4


def trainings() -> Iterator[Kernel]:
    """What only a training step needs: nonlinearities and a Mamba's scan, forward and back."""
    count = {"count": "i32", "BLOCK": gates.BLOCK}
    widths: dict[str, dict[str, Any]] = {"activate": {}, "glu": {"WIDTH": 160}}
    for name, width in widths.items():
        source = "v" if name == "activate" else "u"
        forward, backward = getattr(gates, f"_{name}"), getattr(gates, f"_{name}_backward")
        yield name, forward, _pointers("*fp32", source, "out") | count | width, 4
        yield f"{name} backward", backward, _pointers("*fp32", source, "grad", "out") | count | width, 4
    sizes = {"steps": "i32", "E": 256, "N": 16, "NP": 16, "CHANNELS": selective_scan.CHANNELS}
    given = _pointers("*fp32", "dt", "a", "b", "c", "x", "start", "y", "last", "kept") | sizes
    for keep in (False, True):
        yield f"scan, states kept {keep}", selective_scan._forward, given | {"KEEP": keep}, 1
    wanted = ("gy", "glast", "gdt", "ga", "gb", "gc", "gx", "gstart")
    back = _pointers("*fp32", "dt", "a", "b", "c", "x", "kept", *wanted) | {"rows": "i32"}
    yield "scan backward", selective_scan._backward, back | sizes, 1


def _sizes(inputs: int, outputs: int, precision: Precision, parts: int) -> dict[str, Any]:
    sizes = linear.block_sizes(inputs, outputs, parts, precision)
    blocks = zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), sizes, strict=True)
    return {"K": inputs, "N": outputs, "KP": -(-inputs // sizes[2]) * sizes[2]} | dict(blocks)


def compiled(kernel: Any, arguments: dict[str, Any], warps: int) -> Any:
    """The kernel for HOPPER; pointers are taken to be aligned to 16 bytes, as torch's are."""
    typed = ("*", "i32", "i64", "fp32")
    given = {name: v for name, v in arguments.items() if isinstance(v, str) and v.startswith(typed)}
    constants = {name: v for name, v in arguments.items() if name not in given}
    names = list(kernel.arg_names)
    signature = {name: given.get(name, "constexpr") for name in names}
    attributes = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {(names.index(n),): v for n, v in constants.items()}, attributes)
    return triton.compile(
        source, target=HOPPER, options={"num_warps": warps, "num_stages": 2, "enable_fp_fusion": False}
    )


def main(directory: str | None = None) -> None:
    for name, kernel, arguments, warps in itertools.chain(recurrences(), noises(), products(), heads(), trainings()):
        binary = compiled(kernel, arguments, warps)
        ptx = binary.asm["ptx"]
        if directory:
            stem = Path(directory) / name.replace(" ", "_")
            stem.with_suffix(".ptx").write_text(ptx)
            stem.with_suffix(".cubin").write_bytes(binary.asm["cubin"])
        fused = ptx.count("fma.rn.f32") + ptx.count("fma.rn.f64")
        figures = {"fused": fused, "barriers": ptx.count("bar.sync"), "shared_bytes": binary.metadata.shared}
        print(json.dumps({"kernel": name} | figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
