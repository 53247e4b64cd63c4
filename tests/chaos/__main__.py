"""`python -m tests.chaos`: random faults under load; the report as JSON; exit status 1 when anything was wrong."""

import asyncio
import json
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.chaos.hosts import missing
from tests.chaos.run import Plan, run, run_on_hosts


def main(
    requests: Annotated[int, typer.Option(help="At least that many.")] = 5000,
    clients: Annotated[int, typer.Option(help="At the same time.")] = 32,
    every_seconds: Annotated[float, typer.Option(help="Pause between faults.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of requests and faults.")] = 0,
    appendfsync: Annotated[str, typer.Option(help="As in the server's settings.")] = "always",
    hosts: Annotated[bool, typer.Option(help="Workers on hosts of their own whose link is cut; needs root.")] = False,
    rolling: Annotated[bool, typer.Option(help="Restart each process once by SIGTERM instead.")] = False,
    keyed: Annotated[
        bool, typer.Option(help="--no-keyed is the control: retries without a key must be noticed.")
    ] = True,
) -> None:
    """Two APIs, two workers and Redis; one of them is killed, or stopped for 3 s, every so often."""
    logging.basicConfig(level="WARNING")
    with tempfile.TemporaryDirectory(prefix="vssm-chaos-") as folder:
        plan = Plan(requests, clients, every_seconds, seed, appendfsync, rolling, keyed)
        if hosts and (why := missing()):
            typer.echo(f"not run: {why}", err=True)
            raise typer.Exit(2)
        report = asyncio.run((run_on_hosts if hosts else run)(plan, Path(folder)))
    typer.echo(json.dumps(report, indent=2))
    raise typer.Exit(0 if report["passed"] else 1)


typer.run(main)
