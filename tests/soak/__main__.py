"""`python -m tests.soak`: a mixed load at saturation; memory, files and keys must stay; else exit status 1."""

import asyncio
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import machine
from tests.soak.picture import draw
from tests.soak.run import Plan, soak
from tests.soak.samples import as_rows
from tests.soak.service import running

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
MOST_ROWS = 180  # of samples in the file


def main(
    minutes: Annotated[float, typer.Option(help="Of load; a sixth of them to warm up.")] = 30.0,
    clients: Annotated[int, typer.Option(help="At the same time.")] = 64,
    seed: Annotated[int, typer.Option(help="Of what they ask.")] = 0,
    leak: Annotated[int, typer.Option(help="Bytes of every request that the API keeps: the control, must fail.")] = 0,
    out: Annotated[Path, typer.Option(help="Of the report; a picture lies beside it.")] = RESULTS / "soak.json",
) -> None:
    """An API, a worker and Redis under a mixed load: resident memory may grow by less than 2 % after the warm-up."""
    logging.basicConfig(level="WARNING")
    os.environ["SOAK_LEAK_BYTES"] = str(leak)
    report: dict[str, Any] = {"machine": machine(), "leak_bytes": leak}
    with tempfile.TemporaryDirectory(prefix="vssm-soak-") as folder:
        module = "tests.soak.leaking" if leak else "vssm_server"
        with running(Path(folder), module) as target:
            found, samples = asyncio.run(soak(target, Plan(60 * minutes, clients, seed)))
    report |= found
    typer.echo(json.dumps(report, indent=2))
    rows = as_rows(samples)
    report["samples"] = rows[:: max(1, len(rows) // MOST_ROWS)]
    out.write_text(json.dumps(report, indent=1) + "\n")
    draw(samples, report, out.with_suffix(".png"))
    raise typer.Exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    typer.run(main)
