"""`python -m tests.fuzz`: the report as JSON, also in a file; exit status 1 when anything was found."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from tests.fuzz.apart import again as decode_again
from tests.fuzz.run import PARTS, Plan, run

OUT = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz.json"


def main(
    cases: Annotated[int, typer.Option(help="Requests, of all operations together.")] = 20_000,
    inputs: Annotated[int, typer.Option(help="Inputs, of all decoders together.")] = 1_000_000,
    connections: Annotated[int, typer.Option(help="Connections of each family of abuse.")] = 200,
    minutes: Annotated[float, typer.Option(help="Most that the requests may take.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(PARTS)}; again for another.")] = None,
    out: Annotated[Path, typer.Option(help="Where the report goes; parts that are not run stay as they were.")] = OUT,
    failures: Annotated[Path, typer.Option(help="Where inputs that fail are kept.")] = Path("fuzz-failures"),
    again: Annotated[Path | None, typer.Option(help="Decode such an input once more, and nothing else.")] = None,
) -> None:
    """A server, its decoders and its sockets under hostile input."""
    logging.basicConfig(level="ERROR")
    if again is not None:
        decode_again(again)
        return
    if wrong := set(only or ()) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(wrong))}: allowed are {', '.join(PARTS)}")
    parts = tuple(part for part in PARTS if part in (only or PARTS))
    report = run(Plan(cases, inputs, connections, minutes, seed, parts, failures=failures))
    typer.echo(json.dumps(report, indent=2))
    before = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(before | report, indent=2) + "\n")
    raise typer.Exit(1 if any(part["failures"] for part in report.values()) else 0)


if __name__ == "__main__":  # the processes that it starts import it as well
    typer.run(main)
