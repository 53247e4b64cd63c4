"""Turns pip's report of an installation into constraints: every package of the images with its version.

    pip install --quiet --dry-run --ignore-installed --report - setuptools torch==2.13.0 . './server[worker,tracing]' \\
        | python docker/constraints.py > docker/constraints.txt

Run it with Python 3.11 on Linux. PyTorch and what comes with its CUDA builds are left out: the build argument TORCH
chooses them.
"""

import json
import sys

OURS = ("vssm", "vssm-server")
TORCH = ("torch", "triton", "nvidia-", "cuda-")


def constraints(report: str) -> list[str]:
    """`name==version` of everything in the report that is neither ours nor PyTorch's."""
    packages = [item["metadata"] for item in json.loads(report)["install"]]
    lines = [f"{package['name'].lower()}=={package['version']}" for package in packages if package["name"] not in OURS]
    return sorted(line for line in lines if not line.startswith(TORCH))


if __name__ == "__main__":
    print(*constraints(sys.stdin.read()), sep="\n")
